"""What a pruned layer keeps, fitted anew to the layer's outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfcompress.train.post_training.objective import Objective
from tfcompress.train.scope import full_precision
from tfcompress.train.techniques.transform import Transform

__all__ = ["fit_kept_weights"]

_RATE = 0.03


def fit_kept_weights(objective: Objective, transforms: Sequence[Transform], steps: int, seed: int) -> None:
    """Least squares over the weights that masks keep: `min |W x - (M * W') x^|^2` (AdaPrune; Hubara et al., 2021).

    Gradient steps in units of the weight's standard deviation; the result is kept only if it is
    better. Scales and centroids then start anew.

    Args:
        objective: The layer's output error.
        transforms: Its compressed weights; those without a mask are fitted whole.
        steps: Optimizer steps.
        seed: Seed of the samples.
    """
    weights = [full_precision(transform.variable) for transform in transforms]
    masks = [transform.mask_or_ones(weight) for weight, transform in zip(weights, transforms, strict=True)]
    units = [tf.math.reduce_std(weight) + 1e-8 for weight in weights]

    def weights_of(moves: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        parts = zip(weights, moves, units, masks, strict=True)
        return [(weight + move * unit) * mask for weight, move, unit, mask in parts]

    start = [np.zeros(weight.shape, np.float32) for weight in weights]
    before = objective.total_error(weights_of(start))
    fitted = weights_of(objective.minimise(start, weights_of, steps, _RATE, seed))
    if objective.total_error(fitted) < before:
        for transform, weight in zip(transforms, fitted, strict=True):
            transform.variable.assign(weight)
            transform.start()
