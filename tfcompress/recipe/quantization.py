"""Quantization: weights as few levels times a scale."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Quantization"]

Scheme = Literal["uniform", "ternary", "binary", "power_of_two"]
# Bit widths of each scheme, and its estimators; the first of each is the default.
_BITS: dict[str, tuple[int, ...]] = {
    "uniform": (8, 7, 6, 5, 4, 3, 2),
    "ternary": (2,),
    "binary": (1,),
    "power_of_two": (4, 3, 5, 6),
}
_ESTIMATORS = {"uniform": ("ste", "lsq"), "ternary": ("ste", "ttq"), "binary": ("ste",), "power_of_two": ("ste",)}


class Quantization(BaseModel):
    """Quantization of a weight during training, to the levels of a scheme times a scale s.

    | scheme | num_bits | levels |
    |---|---|---|
    | uniform | 2 to 8 | integers from -(2^(num_bits-1) - 1) to 2^(num_bits-1) - 1 |
    | ternary | 2 | -1, 0, 1 (Li et al., 2016); with "ttq" -n, 0, p (Zhu et al., 2017) |
    | binary | 1 | -1, 1 (Rastegari et al., 2016); 0 beside them where the weight is also sparse |
    | power_of_two | 3 to 6 | 0, and ±2^k for k = 0 to 2^(num_bits-1) - 2 (Zhou et al., 2017) |

    Attributes:
        num_bits: Bit width of the codes; needed for "uniform" alone.
        scheme: The levels.
        granularity: One scale per output "channel" or one per "tensor". None means "channel", or
            "tensor" beside a codebook, whose shared values need one scale to stay shared, and for
            "ttq", whose two magnitudes per channel would be a codebook per channel.
        estimator: What is learned: "ste" (the weights alone, straight-through, and the scale follows
            them; Bengio et al., 2013), "lsq" (uniform: also the scale; Esser et al., 2020) or "ttq"
            (ternary: also the two magnitudes).
    """

    # The schema does not ask for num_bits: three of the schemes know it.
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"required": []})

    num_bits: int = Field(ge=1, le=8)
    scheme: Scheme = "uniform"
    granularity: Literal["channel", "tensor"] | None = None
    estimator: Literal["ste", "lsq", "ttq"] = "ste"

    @model_validator(mode="before")
    @classmethod
    def _only_uniform_needs_its_bits(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("num_bits") is None:
            scheme = values.get("scheme", "uniform")
            if scheme != "uniform" and scheme in get_args(Scheme):
                return {**values, "num_bits": _BITS[scheme][0]}
        return values

    @model_validator(mode="after")
    def _scheme_has_its_bits_and_estimators(self) -> Quantization:
        for name, received, allowed in (
            ("num_bits", self.num_bits, _BITS[self.scheme]),
            ("estimator", self.estimator, _ESTIMATORS[self.scheme]),
        ):
            if received not in allowed:
                choices = " or ".join(str(choice) for choice in sorted(allowed))
                raise ValueError(f"{name} must be {choices} for scheme '{self.scheme}'. Received: {name}={received}")
        if self.estimator == "ttq" and self.granularity == "channel":
            raise ValueError("granularity must be 'tensor' for estimator 'ttq'. Received: granularity='channel'")
        return self

    @property
    def scale_granularity(self) -> Literal["channel", "tensor"]:
        """The granularity with its default filled in, for a weight without a codebook."""
        return self.granularity or ("tensor" if self.estimator == "ttq" else "channel")

    @property
    def levels(self) -> int:
        """Most distinct values of a weight without zeros beside the scheme's, per scale."""
        return {"ternary": 3, "binary": 2}.get(self.scheme, int(2**self.num_bits) - 1)
