"""Sparsity: how many weights become zero, which, and when."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tfcompress.recipe.schedule import ScheduleSpec, as_schedule_spec

__all__ = ["Criterion", "Sparsity"]

Criterion = Literal["magnitude", "threshold", "taylor", "movement", "fisher", "obd", "random"]


class Sparsity(BaseModel):
    """The entries of a weight that training drives to exactly zero.

    | criterion | a weight's saliency |
    |---|---|
    | magnitude | abs(w) |
    | threshold | abs(w), against `threshold` instead of a fraction |
    | taylor | abs(w g), g = dL/dw, averaged over batches (Molchanov et al., 2019) |
    | movement | -sum of w g over the training (Sanh et al., 2020) |
    | fisher | 1/2 w^2 E[g^2], the empirical Fisher for the curvature |
    | obd | 1/2 w^2 abs(d2L/dw2) (Optimal Brain Damage; LeCun et al., 1990) |
    | random | drawn once: the control |

    Attributes:
        target: Final fraction of zeros, 0 < target < 1; 1 - n/m for `n_of_m`; None for "threshold".
        criterion: What makes a weight worth keeping.
        threshold: Weights of at most this magnitude become zero; only with criterion "threshold".
        scope: Rank the weights of each "layer" alone, or those of all layers that ask for the same in
            one "global" ranking, so that the fraction holds for all of them together.
        allocation: With scope "layer": the same fraction for every layer ("uniform"), or more for
            larger ones ("erk", Erdős–Rényi kernel; Evci et al., 2020), with the same total.
        granularity: "element" (any entry), "n_of_m" (at most n non-zeros in every m consecutive
            input channels, the last axis of TFLite's layout), "block" (whole rectangles of inputs x
            output channels; the inputs of a convolution are its height x width x channels) or
            "channel" (whole output channels).
        n_of_m: (n, m) with 0 < n < m; only with granularity "n_of_m".
        block: (rows, columns) of a block; only with granularity "block".
        schedule: step -> sparsity. Any `tfmot.sparsity.keras.PruningSchedule`, its spec, or None:
            a cubic ramp from 0 to `target` over the first half of training (Zhu & Gupta, 2017).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: float | None = Field(default=None, gt=0, lt=1)
    criterion: Criterion = "magnitude"
    threshold: float | None = Field(default=None, gt=0)
    scope: Literal["layer", "global"] = "layer"
    allocation: Literal["uniform", "erk"] = "uniform"
    granularity: Literal["element", "n_of_m", "block", "channel"] = "element"
    n_of_m: tuple[int, int] | None = None
    block: tuple[int, int] | None = None
    schedule: Annotated[ScheduleSpec | None, BeforeValidator(as_schedule_spec)] = None

    @model_validator(mode="after")
    def _granularity_has_its_shape(self) -> Sparsity:
        for name in ("n_of_m", "block"):
            if (getattr(self, name) is not None) != (self.granularity == name):
                raise ValueError(
                    f"{name} must be given exactly when granularity is '{name}'. "
                    f"Received: granularity='{self.granularity}', {name}={getattr(self, name)}"
                )
        if self.n_of_m is not None:
            n, m = self.n_of_m
            if not 0 < n < m:
                raise ValueError(f"n_of_m must be (n, m) with 0 < n < m. Received: n_of_m={self.n_of_m}")
            if self.target is None or abs(self.target - (1 - n / m)) > 1e-9:
                raise ValueError(
                    f"target must be 1 - n/m = {1 - n / m:g} for n_of_m={self.n_of_m}. Received: target={self.target}"
                )
        if self.block is not None and min(self.block) < 1:
            raise ValueError(f"block must be (rows, columns), each at least 1. Received: block={self.block}")
        return self

    @model_validator(mode="after")
    def _a_fraction_or_a_threshold(self) -> Sparsity:
        if (self.criterion == "threshold") != (self.threshold is not None):
            raise ValueError(
                "threshold must be given exactly when criterion is 'threshold'. "
                f"Received: criterion='{self.criterion}', threshold={self.threshold}"
            )
        if (self.target is None) != (self.threshold is not None):
            raise ValueError(
                "exactly one of target and threshold must be given. "
                f"Received: target={self.target}, threshold={self.threshold}"
            )
        return self

    @model_validator(mode="after")
    def _ranking_suits_the_granularity(self) -> Sparsity:
        element_only = {
            "criterion": self.criterion == "threshold",
            "scope": self.scope == "global",
            "allocation": self.allocation == "erk",
        }
        for name, special in element_only.items():
            if special and self.granularity != "element":
                raise ValueError(
                    f"granularity must be 'element' for {name}='{getattr(self, name)}'. "
                    f"Received: granularity='{self.granularity}'"
                )
        if self.scope == "global" and (self.allocation == "erk" or self.threshold is not None):
            raise ValueError(
                "scope must be 'layer' for allocation 'erk' and for criterion 'threshold'. Received: scope='global'"
            )
        return self
