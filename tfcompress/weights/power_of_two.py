"""Power-of-two quantizer: every weight is 0 or a signed power of two."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from tfcompress.weights.straight_through import straight_through

__all__ = ["max_exponent", "power_of_two_quantize", "power_of_two_scale"]


def max_exponent(num_bits: int) -> int:
    """Largest exponent k of the levels 0, ±2^0 … ±2^k: `2^(num_bits-1) - 2`.

    >>> max_exponent(4)
    6
    """
    return 2 ** (num_bits - 1) - 2


def power_of_two_scale(weight: tf.Tensor, num_bits: int, axes: Sequence[int]) -> tf.Tensor:
    """The scale, itself a power of two, whose largest level is next to the largest weight.

    `s = 2^(floor(log2(4/3 max|w|)) - max_exponent)` (INQ; Zhou et al., 2017, eq. 3).

    Args:
        weight: float32, any shape.
        num_bits: 3 to 6.
        axes: The axes that share a scale; they are kept with size 1.

    Returns:
        float32 scales, > 0; 1 for a group of zeros.
    """
    largest = tf.reduce_max(tf.abs(weight), axis=list(axes), keepdims=True)
    exponent = tf.floor(_log2(tf.where(largest > 0, largest, 1.0) * (4 / 3)) + 1e-6) - max_exponent(num_bits)
    # Below 2^-100 the levels would leave float32.
    return tf.where(largest > 0, _exp2(tf.maximum(exponent, -100.0)), 1.0)


def power_of_two_quantize(weight: tf.Tensor, scale: tf.Tensor, num_bits: int) -> tf.Tensor:
    """The nearest level `scale * {0, ±2^0, …, ±2^max_exponent}`; straight-through gradient.

    Nearest in value: |w| / scale becomes 2^k where it lies between 3/4 2^k and 3/2 2^k, and 0 below 1/2.

    Args:
        weight: float32, any shape.
        scale: float32, > 0, broadcastable to `weight`.
        num_bits: 3 to 6.
    """
    ratio = tf.abs(tf.stop_gradient(weight)) / scale
    exponent = tf.floor(_log2(tf.maximum(ratio, 0.5) * (4 / 3)))
    level = _exp2(tf.clip_by_value(exponent, 0.0, max_exponent(num_bits)))
    return straight_through(weight, tf.sign(weight) * tf.where(ratio > 0.5, level, 0.0) * scale)


def _log2(value: tf.Tensor) -> tf.Tensor:
    return tf.math.log(value) / math.log(2)


def _exp2(exponent: tf.Tensor) -> tf.Tensor:
    """Exactly 2^exponent for integers -126 to 127, which `tf.pow` does not promise: the bits of the float."""
    return tf.bitcast((tf.cast(exponent, tf.int32) + 127) * 2**23, tf.float32)
