"""State and forward maths of one compressed variable: `w_hat = quantize(codebook(mask * w))`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcompress.recipe import Sparsity
from tfcompress.train import tfmot
from tfcompress.train.scope import full_precision
from tfcompress.train.targets import Target
from tfcompress.weights import (
    kept_count,
    lsq_quantize,
    lsq_scale,
    refine_centroids,
    refine_scale,
    search_scale,
    ste_quantize,
)

__all__ = ["Transform", "expected_zeros", "update_masks"]

_LLOYD_STEPS = 10


class Transform:
    """The compression of one variable.

    The forward value is a pure function of the variable and of the state kept here. The state
    changes in `advance` only, once per optimizer update, never in a forward pass.

    Args:
        owner: The wrapper; it owns the state variables.
        variable: The shadow weight.
        target: What is asked.
        make: Makes a state variable of the owner: (name, shape, initial value, trainable) -> variable.
    """

    def __init__(self, variable: keras.Variable, target: Target, make: Callable[..., keras.Variable]) -> None:
        self.variable, self.target = variable, target
        shape = tuple(int(size) for size in variable.shape)
        self.mask = self.threshold = self.schedule = None
        self.centroids = self.free = None
        self.scale = self.log_ratio = None
        if target.sparsity is not None:
            assert target.sparsity.schedule is not None
            self.schedule = tfmot.rebuild_schedule(target.sparsity.schedule)
            self.mask = make("mask", shape, 1.0)
            self.threshold = make("threshold", (), 0.0)
        if target.codebook is not None:
            self.centroids = make("centroids", (target.codebook.num_centroids,), 0.0, trainable=True)
            self.free = make("free", (target.codebook.num_centroids,), 1.0)
        if target.quantization is not None:
            self.scale_axes, scale_shape = self._scale_layout(shape)
            self.scale = make("scale", scale_shape, 1.0)
            if target.quantization.estimator == "lsq":
                self.log_ratio = make("log_ratio", scale_shape, 0.0, trainable=True)

    def _scale_layout(self, shape: tuple[int, ...]) -> tuple[list[int], tuple[int, ...]]:
        """Axes that share a scale, in the tensor that is quantized: the weight, or its codebook."""
        if self.target.codebook is not None:
            return [0], (1,)
        assert self.target.quantization is not None
        if self.target.quantization.granularity == "tensor":
            return list(range(len(shape))), (1,) * len(shape)
        axes = [axis for axis in range(len(shape)) if axis not in self.target.channel_axes]
        return axes, tuple(1 if axis in axes else size for axis, size in enumerate(shape))

    @property
    def trained(self) -> list[keras.Variable]:
        """State that the optimizer trains: centroids and learned scales."""
        return [variable for variable in (self.centroids, self.log_ratio) if variable is not None]

    @property
    def state(self) -> dict[str, keras.Variable]:
        """All state variables by name."""
        names = ("mask", "threshold", "centroids", "free", "scale", "log_ratio")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def compute(self, weight: tf.Tensor, *trained: tf.Tensor) -> tf.Tensor:
        """The compressed weight.

        Args:
            weight: The shadow weight, float32.
            *trained: Values of `trained`; the variables themselves by default.

        Returns:
            w_hat, float32, differentiable in all arguments.
        """
        values = dict(zip((id(variable) for variable in self.trained), trained, strict=False))
        read = lambda variable: values.get(id(variable), variable.value)  # noqa: E731
        if self.mask is not None:
            weight = weight * self.mask.value
        if self.centroids is None:
            return weight if self.scale is None else self._quantize(weight, read)
        assert self.free is not None
        centroids = read(self.centroids) * self.free.value
        if self.scale is not None:
            centroids = self._quantize(centroids, read)
        clustered = tfmot.clustered_weight(weight, centroids, self.centroids.value)
        return clustered if self.mask is None else clustered * self.mask.value

    def _quantize(self, weight: tf.Tensor, read: Callable[[keras.Variable], tf.Tensor]) -> tf.Tensor:
        assert self.target.quantization is not None and self.scale is not None
        num_bits = self.target.quantization.num_bits
        if self.log_ratio is None:
            return ste_quantize(weight, self.scale.value, num_bits)
        return lsq_quantize(weight, lsq_scale(self.scale.value, read(self.log_ratio)), num_bits)

    def start(self) -> None:
        """Fills scales and centroids from the masked weight as it is before training."""
        weight = full_precision(self.variable)
        mask = tf.ones_like(weight) if self.mask is None else self.mask.value
        if self.centroids is not None:
            self._start_centroids(weight * mask, mask)
        if self.scale is not None:
            assert self.target.quantization is not None
            coded = weight * mask if self.centroids is None else self.centroids.value
            scale = search_scale(coded, self.target.quantization.num_bits, self.scale_axes)
            self.scale.assign(scale)

    def _start_centroids(self, weight: tf.Tensor, mask: tf.Tensor) -> None:
        assert self.target.codebook is not None and self.centroids is not None and self.free is not None
        codebook, sparse = self.target.codebook, self.target.sparsity is not None
        centroids = tfmot.initial_centroids(weight, codebook.num_centroids, codebook.init, sparse)
        free = tf.cast(centroids != 0, tf.float32) if sparse else tf.ones_like(centroids)
        for _ in range(_LLOYD_STEPS):
            centroids = refine_centroids(weight, mask, centroids, free)
        self.centroids.assign(centroids)
        self.free.assign(free)

    def advance(self, step: tf.Tensor, updated: tf.Tensor) -> None:
        """Lets the state follow the weights after one optimizer update.

        Args:
            step: Number of updates done, this one included.
            updated: Boolean; false when the optimizer only accumulated gradients.
        """
        weight = full_precision(self.variable)
        if self.centroids is not None and self.mask is not None and not self.target.mask_frozen:
            self._follow_mask(weight, step)
        if self.scale is not None and self.log_ratio is None:
            assert self.target.quantization is not None
            coded = weight if self.mask is None else weight * self.mask.value
            if self.centroids is not None:
                assert self.free is not None
                coded = self.centroids.value * self.free.value
            refined = refine_scale(coded, self.scale.value, self.target.quantization.num_bits, self.scale_axes)
            self.scale.assign(tf.where(updated, refined, self.scale.value))

    def _follow_mask(self, weight: tf.Tensor, step: tf.Tensor) -> None:
        """Moves the centroids to their weights when the mask is new; gradients do the rest."""
        assert self.centroids is not None and self.free is not None
        assert self.mask is not None and self.schedule is not None
        mask, centroids, free = self.mask.value, self.centroids.value, self.free.value
        self.centroids.assign(
            tf.cond(
                self.schedule(step)[0],
                lambda: refine_centroids(weight * mask, tf.identity(mask), centroids * free, tf.identity(free)),
                lambda: tf.identity(centroids),
            )
        )

    def value(self) -> np.ndarray:
        """w_hat as an array."""
        return self.compute(full_precision(self.variable)).numpy()


def update_masks(transforms: Sequence[Transform], step: tf.Tensor) -> None:
    """Lets the schedules choose new masks at this step, where they are not frozen.

    Args:
        transforms: All compressed variables of a model.
        step: Number of optimizer updates done.
    """
    groups: dict[str, list[Transform]] = {}
    for transform in transforms:
        if transform.target.sparsity is not None and not transform.target.mask_frozen:
            groups.setdefault(transform.target.sparsity.model_dump_json(), []).append(transform)
    for group in groups.values():
        variables = [(t.variable._value, t.state["mask"]._value, t.state["threshold"]._value) for t in group]
        sparsity = group[0].target.sparsity
        assert sparsity is not None and group[0].schedule is not None
        tfmot.update_masks(variables, step, sparsity, group[0].schedule)


def expected_zeros(sparsity: Sparsity, shape: tuple[int, ...]) -> int:
    """Zeros that a finished mask has at least.

    Args:
        sparsity: What was asked.
        shape: The weight's shape.
    """
    area = math.prod(sparsity.block or (1, 1))
    blocks = math.prod(shape) // area
    return area * (blocks - kept_count(blocks, sparsity.target))
