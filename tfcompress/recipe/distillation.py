"""Distillation: training against a teacher's outputs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Distillation"]


class Distillation(BaseModel):
    """How much the compressed model learns from a teacher instead of from the labels.

    Attributes:
        temperature: Softens both distributions before the KL divergence; > 0, 1 leaves them as they are.
        alpha: Weight of the teacher's loss, 0 to 1; the labels' loss has 1 - alpha.
        loss: "kl" (temperature^2 * KL(teacher || student) on soft targets; Hinton et al., 2015) or
            "mse" (1/2 * ||teacher logits - student logits||^2; Ba & Caruana, 2014).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=4.0, gt=0)
    alpha: float = Field(default=0.5, ge=0, le=1)
    loss: Literal["kl", "mse"] = "kl"
