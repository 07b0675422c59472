"""Ternary quantizers: a weight becomes -s, 0 or s, or -n, 0 or p with two learned magnitudes."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfcompress.weights.straight_through import straight_through

__all__ = ["mean_magnitude", "ternary_codes", "ternary_quantize", "trained_ternary_quantize"]

_THRESHOLD = 0.7


def mean_magnitude(weight: tf.Tensor, counted: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Mean of |w| over the counted weights of each group.

    Args:
        weight: float32, any shape.
        counted: float32, same shape; 1 where a weight counts, else 0.
        axes: The axes of a group; they are kept with size 1.

    Returns:
        float32; 0 for a group without counted weights.
    """
    total = tf.reduce_sum(tf.abs(weight) * counted, axis=list(axes), keepdims=True)
    return total / tf.maximum(tf.reduce_sum(counted, axis=list(axes), keepdims=True), 1.0)


def ternary_codes(weight: tf.Tensor, mask: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Codes -1, 0 or 1: the sign where |w| > 0.7 mean|w|, else 0 (Li et al., 2016).

    Args:
        weight: float32, any shape.
        mask: float32, same shape; weights under a 0 get code 0 and do not count.
        axes: The axes that share a threshold.
    """
    threshold = _THRESHOLD * mean_magnitude(weight, mask, axes)
    return tf.sign(weight) * mask * tf.cast(tf.abs(weight) > threshold, tf.float32)


def ternary_quantize(weight: tf.Tensor, mask: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Ternary weight networks (Li et al., 2016): `s * code`, s = mean |w| over the codes that are not 0.

    That s minimises `sum((w - s * code)^2)`. Gradient: straight-through.

    Args:
        weight: float32, any shape.
        mask: float32, same shape; weights under a 0 become 0.
        axes: The axes that share a scale.
    """
    codes = tf.stop_gradient(ternary_codes(weight, mask, axes))
    scale = tf.stop_gradient(mean_magnitude(weight, tf.abs(codes), axes))
    return straight_through(weight, scale * codes)


def trained_ternary_quantize(
    weight: tf.Tensor, positive: tf.Tensor, negative: tf.Tensor, mask: tf.Tensor, axes: Sequence[int]
) -> tf.Tensor:
    """Trained ternary quantization (Zhu et al., 2017): p, 0 or -n with learned p and n.

    Gradients: dL/dp = mean over the codes 1 of dL/dw_hat, dL/dn = -(mean over the codes -1); the weight's is
    straight-through. The paper's gradients are sums over weights that it scales to [-1, 1] first.

    Args:
        weight: float32, any shape.
        positive: float32, > 0, of the weight's rank, 1 along `axes`.
        negative: float32, > 0, likewise.
        mask: float32, the weight's shape; weights under a 0 become 0.
        axes: The axes that share p and n.
    """

    @tf.custom_gradient
    def quantize(weight: tf.Tensor, positive: tf.Tensor, negative: tf.Tensor) -> tuple:
        codes = ternary_codes(weight, mask, axes)
        above, below = tf.cast(codes > 0, tf.float32), tf.cast(codes < 0, tf.float32)

        def mean(upstream: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
            total = tf.reduce_sum(upstream * where, axis=list(axes), keepdims=True)
            return total / tf.maximum(tf.reduce_sum(where, axis=list(axes), keepdims=True), 1.0)

        def gradient(upstream: tf.Tensor) -> tuple:
            return upstream, mean(upstream, above), -mean(upstream, below)

        return above * positive - below * negative, gradient

    return quantize(weight, positive, negative)
