"""Binary quantizers: a weight becomes -s or s."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfcompress.weights.straight_through import straight_through
from tfcompress.weights.ternary import mean_magnitude

__all__ = ["binary_quantize"]


def binary_quantize(weight: tf.Tensor, mask: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Binary weights with a scale (XNOR-Net; Rastegari et al., 2016): `s * sign(w)`, s = mean |w|.

    That s minimises `sum((w - s * sign(w))^2)`; sign(0) is 1. Gradient: straight-through. For weights
    in {-1, 1} without a scale (BinaryConnect) use the fixed values (-1, 1).

    Args:
        weight: float32, any shape.
        mask: float32, same shape; weights under a 0 become 0 and do not count.
        axes: The axes that share a scale.
    """
    signs = tf.where(weight >= 0, 1.0, -1.0) * mask
    return straight_through(weight, tf.stop_gradient(mean_magnitude(weight, mask, axes)) * signs)
