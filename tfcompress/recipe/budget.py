"""Budget: the limits that a finished file must keep."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Budget"]


class Budget(BaseModel):
    """Limits on the finished file; None means no limit.

    Attributes:
        size_bytes: Largest file, in bytes.
        latency_ms: Largest median latency of one batch-1 inference, in milliseconds on one thread.
        metric_drop: Largest loss against the float file, in the metric's own unit (0.005 is half a
            point of accuracy).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int | None = Field(default=None, gt=0)
    latency_ms: float | None = Field(default=None, gt=0)
    metric_drop: float | None = Field(default=None, ge=0)
