"""Drop and grow: a mask moves and keeps its number of zeros."""

from __future__ import annotations

import math

import tensorflow as tf

from tfcompress.weights.mask import magnitude_mask

__all__ = ["drop_and_grow", "drop_fraction"]

# Puts every candidate before what is no candidate; far below a weight that matters.
_ABOVE_ZERO = 1e-30


def drop_fraction(step: tf.Tensor, fraction: float, end_step: int) -> tf.Tensor:
    """RigL's cosine: `fraction / 2 (1 + cos(pi step / end_step))` (Evci et al., 2020).

    Args:
        step: Number of optimizer updates done, 0 to `end_step`.
        fraction: Its value at step 0.
        end_step: Where it reaches 0.
    """
    return fraction / 2 * (1 + tf.cos(math.pi * tf.cast(step, tf.float32) / end_step))


def drop_and_grow(weight: tf.Tensor, mask: tf.Tensor, score: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Drops a share of the kept weights, smallest abs(w) first, and grows as many of all others.

    What was dropped may grow again at once. At least one weight survives. Ties are broken by index.

    Args:
        weight: float32, any shape.
        mask: bool, same shape; true is what stays.
        score: float32, >= 0, same shape: what grows first, such as abs(dL/dw).
        share: float32 scalar, 0 to 1; the number is rounded.

    Returns:
        The new mask, with as many true values as `mask`.
    """
    kept = tf.cast(tf.reduce_sum(tf.cast(mask, tf.int32)), tf.int32)
    count = tf.minimum(tf.cast(tf.round(share * tf.cast(kept, tf.float32)), tf.int32), kept - 1)
    _, survives = magnitude_mask(tf.where(mask, tf.abs(weight) + _ABOVE_ZERO, 0.0), kept - count)
    _, grows = magnitude_mask(tf.where(survives, 0.0, score + _ABOVE_ZERO), tf.maximum(count, 1))
    return tf.where(count > 0, survives | grows, mask)
