"""Pruning with its state: what a recipe's `Sparsity` becomes for one weight, and the update of the masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfcompress.recipe import Sparsity
from tfcompress.train.scope import full_precision
from tfcompress.train.targets import Target
from tfcompress.train.techniques import tfmot
from tfcompress.train.techniques.quantizing import Make
from tfcompress.weights import channel_saliency, curvature_saliency, from_zero, kept_count, magnitude_mask

__all__ = ["FROM_GRADIENTS", "MEASURED", "Pruner", "expected_zeros", "update_masks"]

FROM_GRADIENTS = ("taylor", "movement", "fisher")  # observed during training
MEASURED = ("taylor", "fisher", "obd")  # can be measured on data before it
_DECAY = 0.9


class Pruner:
    """The mask of one weight, and what its criterion has seen.

    Args:
        target: What is asked; its sparsity has a schedule.
        variable: The shadow weight.
        make: Makes a state variable.
    """

    def __init__(self, target: Target, variable: keras.Variable, make: Make) -> None:
        assert target.sparsity is not None and target.sparsity.schedule is not None
        shape = tuple(int(size) for size in variable.shape)
        self.sparsity: Sparsity = target.sparsity
        self.variable, self.seed, self.channel_axes = variable, (target.seed, target.position), target.channel_axes
        self.schedule = tfmot.rebuild_schedule(target.sparsity.schedule)
        self.mask, self.threshold = make("mask", shape, 1.0), make("threshold", (), 0.0)
        self.state = {"mask": self.mask, "threshold": self.threshold}
        self.importance = self.gradient = None
        if self.sparsity.criterion not in ("magnitude", "threshold"):
            self.importance = self.state["importance"] = make("importance", shape, 0.0)
        if self.sparsity.criterion in FROM_GRADIENTS:
            self.gradient = self.state["gradient"] = make("gradient", shape, 0.0, aggregation="mean")

    def start(self) -> None:
        """Draws the random scores, which have to be the same at every update for the mask to be nested."""
        if self.sparsity.criterion == "random":
            assert self.importance is not None
            self.importance.assign(tf.random.stateless_uniform(self.importance.shape, self.seed))

    def prunes_at_once(self) -> bool:
        """Whether the schedule asks for zeros before the first step."""
        update, sparsity = self.schedule(tf.constant(0, tf.int64))
        return bool(update) and float(sparsity) > 0

    def remember(self, importance: tf.Tensor) -> None:
        """Takes over what was measured on data before the training."""
        assert self.importance is not None
        self.importance.assign(importance)

    def observe(self, gradient: tf.Tensor) -> None:
        """Takes in dL/dw_hat of one call of the layer."""
        if self.gradient is not None:
            self.gradient.assign_add(gradient)

    def advance(self, updated: tf.Tensor) -> None:
        """Lets the importance follow after one optimizer update (`updated` is true then)."""
        if self.gradient is None:
            return
        assert self.importance is not None
        gradient, before = self.gradient.value, self.importance.value
        if self.sparsity.criterion == "movement":
            after = before - full_precision(self.variable) * gradient
        else:
            weight = full_precision(self.variable)
            seen = tf.abs(weight * gradient) if self.sparsity.criterion == "taylor" else tf.square(gradient)
            after = _DECAY * before + (1 - _DECAY) * seen
        self.importance.assign(tf.where(updated, after, before))
        self.gradient.assign(tf.where(updated, tf.zeros_like(gradient), gradient))

    def score(self, weight: tf.Tensor) -> tf.Tensor:
        """Saliency of each weight, >= 0; of its channel's weights together, with granularity "channel"."""
        score, criterion = tf.abs(weight), self.sparsity.criterion
        if self.importance is not None:
            score = tf.convert_to_tensor(self.importance.value)
        if criterion in ("fisher", "obd"):
            score = curvature_saliency(weight, score)
        elif criterion == "movement":
            score = from_zero(score)
        if self.sparsity.granularity == "channel":
            axes = [axis for axis in range(weight.shape.rank) if axis not in self.channel_axes]
            score = channel_saliency(score, axes, squared=criterion == "magnitude")
        return score


def update_masks(pruners: Sequence[Pruner], step: tf.Tensor) -> None:
    """Lets the schedules choose new masks at this step.

    Args:
        pruners: The weights whose masks are not frozen.
        step: Number of optimizer updates done.
    """
    groups: dict[str, list[Pruner]] = {}
    for pruner in pruners:
        groups.setdefault(pruner.sparsity.model_dump_json(), []).append(pruner)
    for group in groups.values():
        if group[0].sparsity.scope == "global":
            _update_globally(group, step)
        else:
            pruned = [(p.variable._value, p.mask._value, p.threshold._value, p.score) for p in group]
            tfmot.update_masks(pruned, step, group[0].sparsity, group[0].schedule)


def _update_globally(group: list[Pruner], step: tf.Tensor) -> None:
    """One ranking of all weights of a group, for which TFMOT has nothing."""
    target = group[0].sparsity.target
    assert target is not None
    update, sparsity = group[0].schedule(step)
    sizes = [math.prod(pruner.mask.shape) for pruner in group]

    def new_masks() -> list[tf.Tensor]:
        scores = [tf.reshape(p.score(tf.convert_to_tensor(p.variable._value)), [-1]) for p in group]
        kept = tfmot.kept_now(sum(sizes), target, tf.cast(sparsity, tf.float32))
        masks = tf.split(magnitude_mask(tf.concat(scores, 0), kept)[1], sizes)
        return [tf.reshape(mask, pruner.mask.shape) for mask, pruner in zip(masks, group, strict=True)]

    old_masks = lambda: [tf.identity(pruner.mask.value) for pruner in group]  # noqa: E731
    for pruner, mask in zip(group, tf.cond(update, new_masks, old_masks), strict=True):
        pruner.mask.assign(mask)


def expected_zeros(sparsity: Sparsity, shape: tuple[int, ...], channels: int) -> int:
    """Zeros that a finished mask has at least; 0 where only the mask itself can tell.

    Args:
        sparsity: What was asked.
        shape: The weight's shape.
        channels: Number of its output channels.
    """
    if sparsity.target is None or sparsity.scope == "global":
        return 0
    area = math.prod(sparsity.block or (1, 1))
    if sparsity.granularity == "channel":
        area = math.prod(shape) // channels
    units = math.prod(shape) // area
    return area * (units - kept_count(units, sparsity.target))
