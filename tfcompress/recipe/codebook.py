"""Codebook: weights that share a small set of values."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Codebook"]


class Codebook(BaseModel):
    """Weight sharing: every weight is one of a few values, learned by clustering or given.

    Exactly one of `num_centroids` and `values` is given.

    Attributes:
        num_centroids: Number of learned values of a weight, 2 to 256; zero is one of them where
            the weight is also sparse.
        values: The set Q itself, 2 to 256 finite numbers: every weight becomes the nearest of them,
            trained straight-through. Zero joins them where the weight is also sparse.
        init: TFMOT's centroid initialiser: "linear", "density", "random" or "kmeans++".
        granularity: One codebook per "tensor", or one that every output "channel" scales by the root
            mean square of its weights; for learned values only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_centroids: int | None = Field(default=None, ge=2, le=256)
    values: tuple[float, ...] | None = Field(default=None, min_length=2, max_length=256)
    init: Literal["linear", "density", "random", "kmeans++"] = "kmeans++"
    granularity: Literal["tensor", "channel"] = "tensor"

    @model_validator(mode="after")
    def _learned_or_given(self) -> Codebook:
        if (self.num_centroids is None) == (self.values is None):
            raise ValueError(
                "exactly one of num_centroids and values must be given. "
                f"Received: num_centroids={self.num_centroids}, values={self.values}"
            )
        if self.values is not None:
            if any(value != value or abs(value) > 3e38 for value in self.values):
                raise ValueError(f"values must be finite numbers. Received: values={self.values}")
            if len(set(self.values)) < len(self.values):
                raise ValueError(f"values must be distinct. Received: values={self.values}")
            if self.granularity == "channel":
                raise ValueError("granularity must be 'tensor' for given values. Received: granularity='channel'")
        return self

    @property
    def size(self) -> int:
        """Number of values, without a zero that sparsity adds."""
        return len(self.values) if self.values is not None else int(self.num_centroids or 0)
