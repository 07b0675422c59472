"""Codebook: weights that share a small set of learned values."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Codebook"]


class Codebook(BaseModel):
    """Weight sharing by clustering: every weight is one of `num_centroids` learned values.

    Attributes:
        num_centroids: Number of distinct values of a weight, 2 to 256; zero is one of them where
            the weight is also sparse.
        init: TFMOT's centroid initialiser: "linear", "density", "random" or "kmeans++".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_centroids: int = Field(ge=2, le=256)
    init: Literal["linear", "density", "random", "kmeans++"] = "kmeans++"
