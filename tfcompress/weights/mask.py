"""Masks: which weights stay."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from tfcompress.weights.fusion import fused

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


@fused
def magnitude_mask(weight: tf.Tensor, kept: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Keeps exactly the `kept` largest magnitudes; among equals, those of smaller index.

    The bits of non-negative floats sort as the floats do, so the smallest kept magnitude is found
    bit by bit, in 31 counts, and the last kept one of its equals likewise. XLA needs seconds to
    compile a sort, and a sort of 420,000 weights takes longer than the counts.

    Args:
        weight: float32, any shape.
        kept: Scalar int32, 1 to the number of weights.

    Returns:
        The smallest kept magnitude (a scalar) and the mask (bool, the weight's shape; true is what stays).
    """
    flat = tf.reshape(weight, [-1])
    size = flat.shape[0]
    # Functions, not tensors: a loop would keep what it is given in memory, as large as the weight.
    bits = lambda: tf.bitcast(tf.abs(flat), tf.int32)  # noqa: E731
    index = lambda: tf.range(size)  # noqa: E731
    threshold = _largest(lambda bound: _count(bits() >= bound) >= kept, num_bits=31)
    wanted = kept - _count(bits() > threshold)
    last = _largest(
        lambda bound: _count((bits() == threshold) & (index() < bound)) < wanted, num_bits=size.bit_length()
    )
    stays = (bits() > threshold) | ((bits() == threshold) & (index() <= last))
    return tf.bitcast(threshold, tf.float32), tf.reshape(stays, weight.shape)


def _count(condition: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(condition, tf.int32))


def _largest(holds: Callable[[tf.Tensor], tf.Tensor], num_bits: int) -> tf.Tensor:
    """The largest int32 below 2^num_bits for which a condition that holds at 0, and then ceases, holds."""

    def with_next_bit(bit: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        candidate = found + tf.bitwise.left_shift(1, bit)
        return bit - 1, tf.where(holds(candidate), candidate, found)

    start = (tf.constant(num_bits - 1), tf.constant(0))
    return tf.while_loop(lambda bit, _: bit >= 0, with_next_bit, start)[1]
