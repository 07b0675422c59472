"""Masks: which weights stay."""

from __future__ import annotations

import math

import tensorflow as tf

__all__ = ["kept_count", "magnitude_mask"]


def kept_count(size: int, sparsity: float) -> int:
    """Number of weights that stay so that at least the asked fraction is zero.

    `max(size - ceil(size * sparsity), 1)`; a product within 1e-9 of an integer counts as that integer.

    >>> kept_count(72, 0.7)
    21

    Args:
        size: Number of weights.
        sparsity: Fraction of zeros, 0 to 1.
    """
    return max(size - math.ceil(size * sparsity * (1 - 1e-12) - 1e-9), 1)


def magnitude_mask(weight: tf.Tensor, kept: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Keeps exactly the `kept` largest magnitudes; among equals, those of smaller index.

    Args:
        weight: Any shape.
        kept: Scalar int32, 1 to the number of weights.

    Returns:
        The smallest kept magnitude (a scalar) and the mask (the weight's shape and dtype; 1 stays,
        0 is pruned).
    """
    magnitude = tf.reshape(tf.abs(weight), [-1])
    size = magnitude.shape[0]
    values, indices = tf.math.top_k(magnitude, k=size)
    stays = tf.cast(tf.range(size) < kept, weight.dtype)
    mask = tf.scatter_nd(indices[:, tf.newaxis], stays, [size])
    return values[kept - 1], tf.reshape(mask, weight.shape)
