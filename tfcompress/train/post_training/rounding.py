"""AdaRound: each weight goes to the level above or below it, whichever serves the layer's outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfcompress.train.post_training.objective import Objective
from tfcompress.train.scope import full_precision
from tfcompress.train.targets import Target
from tfcompress.train.techniques.quantizing import Uniform
from tfcompress.train.techniques.transform import Transform
from tfcompress.weights import lsq_scale, max_code

__all__ = ["adaptive_rounding", "levels_around", "rectified_sigmoid", "rounding_penalty"]

_GAMMA, _ZETA = -0.1, 1.1
_BETAS = (20.0, 2.0)
_WARM_UP = 0.2  # share of the steps without the penalty
_RATE = 1e-2
_STRENGTH = 0.1


def rectified_sigmoid(v: tf.Tensor) -> tf.Tensor:
    """`h(v) = clip(sigmoid(v) (zeta - gamma) + gamma, 0, 1)`, gamma = -0.1 and zeta = 1.1.

    Unlike a sigmoid it reaches 0 and 1 (Louizos et al., 2018).
    """
    return tf.clip_by_value(tf.sigmoid(v) * (_ZETA - _GAMMA) + _GAMMA, 0.0, 1.0)


def rounding_penalty(h: tf.Tensor, progress: tf.Tensor) -> tf.Tensor:
    """`mean(1 - |2 h - 1|^beta)`: 0 when every h is 0 or 1. Beta falls from 20 to 2, and pulls ever harder.

    Args:
        h: Roundings, 0 to 1.
        progress: Share of the steps done; the first fifth has no penalty.
    """
    late = (progress - _WARM_UP) / (1 - _WARM_UP)
    beta = _BETAS[1] + (_BETAS[0] - _BETAS[1]) * 0.5 * (1 + tf.cos(np.pi * late))
    penalty = tf.reduce_mean(1 - tf.abs(2 * h - 1) ** beta)
    return tf.where(late < 0, 0.0, penalty)


def levels_around(transform: Transform) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The level at or below each weight, the one at or above it, and where between them the weight is.

    The levels are those of the quantizer's grid, or of a codebook those in use. A pruned weight has
    nothing but 0, and one outside of the levels the nearest of them.

    Returns:
        lower, upper and share = (w - lower) / (upper - lower), 0 to 1, float32 of the weight's shape.
    """
    weight = full_precision(transform.variable)
    mask = transform.mask_or_ones(weight).numpy()
    weight = weight.numpy() * mask
    if isinstance(transform.coder, Uniform):
        lower, upper = _grid(transform.coder, weight)
    else:
        lower, upper = _values_in_use(transform, weight, mask)
    lower, upper = lower * mask, upper * mask
    gap = upper - lower
    share = np.where(gap > 0, (weight - lower) / np.where(gap > 0, gap, 1), 0)
    return lower, upper, np.clip(share, 0, 1).astype(np.float32)


def _grid(coder: Uniform, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale, q = coder.scale.value, max_code(coder.num_bits)
    if "log_ratio" in coder.state:
        scale = lsq_scale(scale, coder.state["log_ratio"].value)
    scale = scale.numpy()
    codes = np.floor(weight / scale)
    return scale * np.clip(codes, -q, q), scale * np.clip(codes + 1, -q, q)


def _values_in_use(transform: Transform, weight: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels of every channel; of the whole weight where its channels share them."""
    axes = transform.target.channel_axes
    order = (*axes, *[axis for axis in range(weight.ndim) if axis not in axes])
    groups = int(np.prod([weight.shape[axis] for axis in axes])) if _has_levels_of_channels(transform.target) else 1
    rows, values, kept = (np.transpose(part, order).reshape(groups, -1) for part in (weight, transform.value(), mask))
    lower, upper = np.empty_like(rows), np.empty_like(rows)
    for row, value, keep, low, high in zip(rows, values, kept, lower, upper, strict=True):
        levels = np.unique(value[keep > 0]) if keep.any() else np.zeros(1, np.float32)
        place = np.searchsorted(levels, row, side="right")
        low[:], high[:] = levels[np.maximum(place - 1, 0)], levels[np.minimum(place, len(levels) - 1)]
    back = np.argsort(order)
    shape = [weight.shape[axis] for axis in order]
    return np.transpose(lower.reshape(shape), back), np.transpose(upper.reshape(shape), back)


def _has_levels_of_channels(target: Target) -> bool:
    if target.codebook is not None:
        return target.codebook.granularity == "channel"
    return target.quantization is not None and target.quantization.scale_granularity == "channel"


def adaptive_rounding(objective: Objective, transforms: Sequence[Transform], steps: int, seed: int) -> list[np.ndarray]:
    """Chooses for each weight the level above or below (AdaRound; Nagel et al., 2020).

    `w^ = lower + h(V) (upper - lower)`; V starts where w^ = w and minimises the layer's relative
    output error plus `rounding_penalty`. In the end h is 1 above one half, else 0.

    Args:
        objective: The layer's output error.
        transforms: Its compressed weights.
        steps: Optimizer steps.
        seed: Seed of the samples.

    Returns:
        The weights, float32, each value one of its two levels.
    """
    around = [levels_around(transform) for transform in transforms]
    start = []
    for _, _, share in around:
        inside = np.clip((share - _GAMMA) / (_ZETA - _GAMMA), 1e-4, 1 - 1e-4)
        start.append(np.log(inside / (1 - inside)).astype(np.float32))

    def weights_of(parameters: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [low + rectified_sigmoid(v) * (high - low) for v, (low, high, _) in zip(parameters, around, strict=True)]

    def penalty(parameters: Sequence[tf.Tensor], progress: tf.Tensor) -> tf.Tensor:
        terms = [rounding_penalty(rectified_sigmoid(v), progress) for v in parameters]
        return strength * tf.add_n(terms) / len(terms)

    nearest = objective.total_error([transform.value() for transform in transforms])
    strength = _STRENGTH * max(nearest, 1e-8)
    found = objective.minimise(start, weights_of, steps, _RATE, seed, penalty)
    return [
        np.where(rectified_sigmoid(v).numpy() > 0.5, high, low).astype(np.float32)
        for v, (low, high, _) in zip(found, around, strict=True)
    ]
