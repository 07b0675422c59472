"""Sparsity: how many weights become zero, which, and when."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tfcompress.recipe.schedule import ScheduleSpec, as_schedule_spec

__all__ = ["Sparsity"]


class Sparsity(BaseModel):
    """The fraction of a weight's entries that training drives to exactly zero.

    Attributes:
        target: Final fraction of zeros, 0 < target < 1. Must be 1 - n/m for `n_of_m`.
        granularity: "element" (any entry), "n_of_m" (at most n non-zeros in every m consecutive
            input channels, the last axis of TFLite's layout) or "block" (whole rectangles of a 2-D weight).
        n_of_m: (n, m) with 0 < n < m; only with granularity "n_of_m".
        block: (rows, columns) of a block; only with granularity "block".
        schedule: step -> sparsity. Any `tfmot.sparsity.keras.PruningSchedule`, its spec, or None:
            a cubic ramp from 0 to `target` over the first half of training (Zhu & Gupta, 2017).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: float = Field(gt=0, lt=1)
    granularity: Literal["element", "n_of_m", "block"] = "element"
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
            if abs(self.target - (1 - n / m)) > 1e-9:
                raise ValueError(
                    f"target must be 1 - n/m = {1 - n / m:g} for n_of_m={self.n_of_m}. Received: target={self.target:g}"
                )
        if self.block is not None and min(self.block) < 1:
            raise ValueError(f"block must be (rows, columns), each at least 1. Received: block={self.block}")
        return self
