"""The one place that touches TFMOT: its schedules, its mask update, its clustering.

TFMOT sets `TF_USE_LEGACY_KERAS` when it is imported; here it is imported lazily and the variable is
put back, so that `tf.keras` of the user's process stays what it was.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from tfcompress.recipe import Sparsity
from tfcompress.weights import kept_count, magnitude_mask, nearest_centroid, shared_values

__all__ = [
    "clustered_weight",
    "initial_centroids",
    "kept_now",
    "parts",
    "update_masks",
]

_SAMPLE = 2**18  # weights that k-means++ draws from, evenly spaced

Score = Callable[[tf.Tensor], tf.Tensor]
_LEGACY_KERAS = "TF_USE_LEGACY_KERAS"


@functools.cache
def parts() -> SimpleNamespace:
    """TFMOT's modules of this name: imported at the first call."""
    before = os.environ.get(_LEGACY_KERAS)
    try:
        from tensorflow_model_optimization.python.core.clustering.keras import (
            cluster_config,
            clustering_algorithm,
            clustering_centroids,
        )
        from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl, pruning_schedule
    finally:
        if before is None:
            os.environ.pop(_LEGACY_KERAS, None)
        else:
            os.environ[_LEGACY_KERAS] = before
    return SimpleNamespace(
        cluster_config=cluster_config,
        clustering_algorithm=clustering_algorithm,
        clustering_centroids=clustering_centroids,
        pruning_impl=pruning_impl,
        pruning_schedule=pruning_schedule,
    )


def kept_now(size: int, target: float, sparsity: tf.Tensor) -> tf.Tensor:
    """Weights that stay at a step of the ramp; exactly `kept_count` at its end.

    Args:
        size: Number of weights.
        target: Sparsity at the end.
        sparsity: float32 sparsity of this step.
    """
    ramp = tf.cast(tf.round(tf.cast(size, tf.float32) * (1 - sparsity)), tf.int32)
    # float32 miscounts in large weights: at the target the count is exact.
    return tf.where(sparsity >= tf.constant(target, tf.float32), kept_count(size, target), tf.maximum(ramp, 1))


@functools.cache
def _pruning() -> type:
    pruning: Any = parts().pruning_impl.Pruning

    class ScoredPruning(pruning):
        """TFMOT's pruning by any score, with exact counts (ties are broken by index) and blocks of any weight."""

        def __init__(self, *args: Any, sparsity: Sparsity, score_of: dict[int, Score]) -> None:
            self._sparsity, self._score_of = sparsity, score_of
            super().__init__(*args)

        def _validate_block(self) -> None:
            """The plan has done it."""

        def _update_mask(self, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            score = tf.convert_to_tensor(weights)
            if self._sparsity.target is None:
                bound = self._sparsity.threshold or 0.0
                return bound, score > bound
            now = tf.cast(self._pruning_schedule(self._step_fn())[1], tf.float32)
            return magnitude_mask(score, kept_now(score.shape.num_elements(), self._sparsity.target, now))

        def _maybe_update_block_mask(self, weights: tf.Variable) -> tuple[tf.Tensor, tf.Tensor]:
            score = self._score_of[id(weights)](tf.convert_to_tensor(weights))
            if self._sparsity.granularity == "channel":
                threshold, mask = self._update_mask(score)
                return threshold, tf.broadcast_to(mask, weights.shape)
            if self._sparsity.granularity == "block":
                return self._block_mask(score)
            threshold, mask = super()._maybe_update_block_mask(score)
            return threshold, tf.cast(mask, tf.bool)  # n of m comes as numbers

        def _block_mask(self, score: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # TFMOT takes 2-D weights only, and squeezes a single row or column of blocks away.
            rows, columns = self._block_size
            inputs, outputs = score.shape.num_elements() // score.shape[-1], score.shape[-1]
            members = tf.reshape(score, [inputs // rows, rows, outputs // columns, columns])
            threshold, mask = self._update_mask(tf.reduce_mean(members, axis=(1, 3)))
            mask = tf.repeat(tf.repeat(mask, rows, axis=0), columns, axis=1)
            return threshold, tf.reshape(mask, score.shape)

    return ScoredPruning


def update_masks(
    pruned: Sequence[tuple[tf.Variable, tf.Variable, tf.Variable, Score]],
    step: tf.Tensor,
    sparsity: Sparsity,
    schedule: Callable[[Any], tuple[Any, Any]],
) -> None:
    """Lets TFMOT choose new masks when the schedule says that this step has them.

    Weights with the same schedule belong in one call: XLA takes far longer to compile several
    conditional updates than one (24 s against 5 s for three layers).

    Args:
        pruned: (weight, mask, threshold, score) of each weight. The mask (bool) receives true for
            what stays, the threshold the smallest score that stays; score gives the
            saliency of a weight's entries (or channels).
        step: Number of optimizer updates done.
        sparsity: Target, criterion and granularity.
        schedule: step -> (update now?, sparsity).
    """
    m_by_n = None
    step_fn = lambda: step  # noqa: E731
    if sparsity.n_of_m is not None:
        kept, group = sparsity.n_of_m
        m_by_n = (group - kept, group)
        # TFMOT chooses an m-by-n mask at step 1 only; the schedule says when "step 1" is.
        step_fn = lambda: tf.cast(schedule(step)[0], tf.int64)  # noqa: E731
    _pruning()(
        step_fn,
        [(weight, mask, threshold) for weight, mask, threshold, _ in pruned],
        schedule,
        sparsity.block or (1, 1),
        "AVG",
        m_by_n,
        sparsity=sparsity,
        score_of={id(weight): score for weight, _, _, score in pruned},
    ).conditional_mask_update()


def initial_centroids(weight: tf.Tensor, num_centroids: int, init: str, with_zero: bool) -> tf.Tensor:
    """Centroids by one of TFMOT's initialisers.

    Args:
        weight: float32, any shape; pruned entries are 0.
        num_centroids: Number of centroids; a zero centroid is one of them.
        init: "linear", "density", "random" or "kmeans++".
        with_zero: Whether one centroid is exactly 0 (TFMOT's sparsity-preserving initialisation).

    Returns:
        float32 [num_centroids], ascending.
    """
    modules = parts()
    kinds = modules.cluster_config.CentroidInitialization
    kind = {
        "linear": kinds.LINEAR,
        "density": kinds.DENSITY_BASED,
        "random": kinds.RANDOM,
        "kmeans++": kinds.KMEANS_PLUS_PLUS,
    }[init]
    initializer = modules.clustering_centroids.CentroidsInitializerFactory.get_centroid_initializer(kind)
    flat = tf.reshape(weight, [-1])
    if init == "kmeans++":
        # It takes 13 float copies of what it looks at. The steps of Lloyd's algorithm that follow see all weights.
        flat = flat[:: -(-flat.shape[0] // _SAMPLE)]
    centroids = tf.sort(initializer(flat, num_centroids, preserve_sparsity=with_zero).get_cluster_centroids())
    # A weight of zeros has the zero centroid alone; the others wait where they do no harm.
    return tf.pad(centroids, [[0, num_centroids - centroids.shape[0]]])


@functools.cache
def _fast_clustering() -> type:
    clustering: Any = parts().clustering_algorithm.ClusteringAlgorithm

    class FastClustering(clustering):
        """TFMOT's clustering with a search among the midpoints and a fused sum for the centroids' gradient."""

        def get_pulling_indices(self, weight: tf.Tensor, centroids: tf.Tensor | None = None) -> tf.Tensor:
            return nearest_centroid(weight, self.cluster_centroids if centroids is None else centroids)

        def get_clustered_weight(self, pulling_indices: tf.Tensor, original_weight: tf.Tensor) -> tf.Tensor:
            fixed = tf.stop_gradient(original_weight)
            values = shared_values(fixed, tf.convert_to_tensor(self.cluster_centroids), pulling_indices)
            return self.add_gradient_to_original_weight(values, tf.identity(original_weight))

    return FastClustering


def clustered_weight(weight: tf.Tensor, centroids: tf.Tensor, variable: tf.Variable) -> tf.Tensor:
    """Replaces every weight by its nearest centroid, with TFMOT's gradients to both.

    Args:
        weight: float32, any shape.
        centroids: float32 [k], computed from `variable`.
        variable: The centroids' variable.

    Returns:
        The clustered weight. dL/dweight = dL/dw_hat; dL/dcentroid = the sum over its weights.
    """
    algorithm = _fast_clustering()(variable)
    algorithm.cluster_centroids = centroids
    indices = algorithm.get_pulling_indices(tf.stop_gradient(weight), tf.stop_gradient(centroids))
    return algorithm.get_clustered_weight(indices, weight)
