"""Quantization: weights as small integers times a scale."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Quantization"]


class Quantization(BaseModel):
    """Uniform symmetric quantization of a weight during training.

    `w_hat = scale * clip(round(w / scale), -(2^(num_bits-1) - 1), 2^(num_bits-1) - 1)`

    Attributes:
        num_bits: Bit width of the codes, 2 to 8.
        scheme: "uniform": equally spaced levels, zero among them.
        granularity: One scale per output "channel" or one per "tensor". None means "channel", or
            "tensor" beside a codebook, whose shared values need one scale to stay shared.
        estimator: Gradient through the rounding: "ste" (straight-through, the scale follows the
            weights' range; Bengio et al., 2013) or "lsq" (the scale is learned; Esser et al., 2020).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_bits: int = Field(ge=2, le=8)
    scheme: Literal["uniform"] = "uniform"
    granularity: Literal["channel", "tensor"] | None = None
    estimator: Literal["ste", "lsq"] = "ste"
