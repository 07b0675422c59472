"""Codebooks: weights that share a few values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfcompress.weights.fusion import fused

__all__ = ["nearest_centroid", "refine_centroids", "shared_values"]

# Up to here a comparison with every midpoint is the fastest search: 0.8 ms for a million weights and 16 centroids, and
# 10.8 ms for 256, where the search in a grid takes 4.1 ms.
_FEW = 32
_CELLS = 4096
# Sums of neighbouring weights go to bins of their own: adding to the same bin waits for the last addition.
_LANES = 8
_CHUNK = 2**16  # weights


@fused
def nearest_centroid(weight: tf.Tensor, centroids: tf.Tensor) -> tf.Tensor:
    """Index of the nearest centroid of every weight.

    It looks at the midpoints between neighbouring centroids that lie below the weight. For 1.86 M
    weights this takes 1.5 ms with 16 centroids and 8 ms with 256, where the distances to all of
    them take 153 and 2,387 ms, and 137 MB and 1.7 GB.

    Args:
        weight: float32, any shape.
        centroids: float32, one dimension, in any order.

    Returns:
        int32 indices into `centroids`, of the weight's shape. A weight halfway between two
        centroids belongs to the smaller one.
    """
    order = _ascending(centroids)
    midpoints = _midpoints(tf.gather(centroids, order))
    if centroids.shape[0] <= _FEW:
        return _choose(weight, midpoints, order)
    return tf.gather(order, _search_below(weight, midpoints))


def shared_values(weight: tf.Tensor, centroids: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """The centroid of every weight, `centroids[indices]`.

    Gradient: dL/dcentroid = the sum over its weights of dL/dvalue; none to `weight`.

    Args:
        weight: float32, any shape.
        centroids: float32 [k].
        indices: `nearest_centroid(weight, centroids)`.
    """
    few = centroids.shape[0] <= _FEW

    @tf.custom_gradient
    def values_of(centroids: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
        values = _nearest_value(weight, centroids) if few else tf.gather(centroids, indices)
        return values, lambda upstream: _sum_by_index(upstream, indices, centroids.shape[0])

    return values_of(centroids)


@fused
def refine_centroids(weight: tf.Tensor, mask: tf.Tensor, centroids: tf.Tensor, free: tf.Tensor) -> tf.Tensor:
    """One step of Lloyd's algorithm: every free centroid moves to the mean of its weights.

    Args:
        weight: float32, any shape.
        mask: Same shape; weights under a 0 do not count.
        centroids: float32 [k].
        free: float32 [k]; 0 holds a centroid where it is (the zero centroid of a sparse weight).

    Returns:
        float32 [k]; a centroid without weights stays.
    """

    def count(weight: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        indices = nearest_centroid(weight, centroids)
        return tf.stack([_lane_sums(values, indices, centroids.shape[0]) for values in (weight * mask, mask)])

    sums, sizes = tf.unstack(tf.reduce_sum(_over_chunks(count, weight, mask), axis=-1))
    moved = tf.where(sizes > 0, sums / tf.maximum(sizes, 1.0), centroids)
    return tf.where(free > 0, moved, centroids)


def _ascending(values: tf.Tensor) -> tf.Tensor:
    """`tf.argsort(values, stable=True)` by comparing all pairs: XLA takes long to compile a sort."""
    index = tf.range(values.shape[0])
    before = (values[None, :] < values[:, None]) | (
        (values[None, :] == values[:, None]) & (index[None, :] < index[:, None])
    )
    rank = tf.reduce_sum(tf.cast(before, tf.int32), axis=1)
    return tf.reduce_sum(tf.where(rank[None, :] == index[:, None], index[None, :], 0), axis=1)


def _midpoints(ascending: tf.Tensor) -> tf.Tensor:
    return (ascending[1:] + ascending[:-1]) / 2


def _choose(weight: tf.Tensor, midpoints: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """The entry of `table` for each weight: the first below all midpoints, the last above all.

    A chain of selections, since XLA would compute whatever gives the index anew in the scalar loop of a gather.
    """
    first, *others = tf.unstack(table)
    chosen = tf.fill(weight.shape, first)
    for midpoint, entry in zip(tf.unstack(midpoints), others, strict=True):
        chosen = tf.where(weight > midpoint, entry, chosen)
    return chosen


def _search_below(weight: tf.Tensor, midpoints: tf.Tensor) -> tf.Tensor:
    """Number of ascending midpoints below each weight, by a table over a uniform grid and a search within its cell.

    A weight's cell grows with the weight, so that all midpoints of smaller cells lie below it and
    all of larger cells above; those of its own cell, mostly one or none, are bisected.
    """
    least, most = midpoints[0], midpoints[-1]
    density = tf.where(most > least, (_CELLS - 3) / (most - least), 1.0)

    def cell(value: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.clip_by_value((value - least) * density + 1, 0.0, _CELLS - 1.0), tf.int32)

    first = tf.reduce_sum(tf.cast(cell(midpoints)[None, :] < tf.range(_CELLS + 1)[:, None], tf.int32), axis=1)
    most_in_a_cell = tf.reduce_max(first[1:] - first[:-1])
    powers = [2**power for power in range(midpoints.shape[0].bit_length())]
    largest = tf.reduce_max(tf.where(powers <= most_in_a_cell, powers, 1))
    padded = tf.pad(midpoints, [[0, midpoints.shape[0]]], constant_values=float("inf"))

    def advance(step: tf.Tensor, below: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return step // 2, below + step * tf.cast(weight > tf.gather(padded, below + step - 1), tf.int32)

    return tf.while_loop(lambda step, _: step > 0, advance, (largest, tf.gather(first, cell(weight))))[1]


@fused
def _nearest_value(weight: tf.Tensor, centroids: tf.Tensor) -> tf.Tensor:
    ascending = tf.gather(centroids, _ascending(centroids))
    return _choose(weight, _midpoints(ascending), ascending)


@fused
def _sum_by_index(values: tf.Tensor, indices: tf.Tensor, count: int) -> tf.Tensor:
    """Sum of the values of each index, float32 [count]."""
    if count <= 256:
        indices = tf.cast(indices, tf.uint8)  # a quarter of the memory until their sums are taken
    return tf.reduce_sum(_over_chunks(lambda v, i: _lane_sums(v, i, count), values, indices), axis=-1)


def _lane_sums(values: tf.Tensor, indices: tf.Tensor, count: int) -> tf.Tensor:
    """Sums of the values of each index, float32 [count, _LANES]."""
    lane = tf.range(values.shape[0]) % _LANES
    sums = tf.math.unsorted_segment_sum(values, tf.cast(indices, tf.int32) * _LANES + lane, count * _LANES)
    return tf.reshape(sums, [count, _LANES])


def _over_chunks(function: Callable[..., tf.Tensor], *tensors: tf.Tensor) -> tf.Tensor:
    """The sum of a function over parts of flat tensors, so that what it needs in between stays small."""
    flat = [tf.reshape(tensor, [-1]) for tensor in tensors]
    size = flat[0].shape[0]
    first = size % _CHUNK or min(size, _CHUNK)
    total = function(*(tensor[:first] for tensor in flat))

    def add(start: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        part = (tf.ensure_shape(tf.slice(tensor, [start], [_CHUNK]), [_CHUNK]) for tensor in flat)
        return start + _CHUNK, total + function(*part)

    return total if first == size else tf.while_loop(lambda start, _: start < size, add, (first, total))[1]
