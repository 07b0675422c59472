"""Pruning with its state: what a recipe's `Sparsity` becomes for one weight, and the update of the masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfcompress.recipe import ScheduleSpec, Sparsity
from tfcompress.train.scope import full_precision
from tfcompress.train.targets import Target
from tfcompress.train.techniques import tfmot
from tfcompress.train.techniques.quantizing import Make, Read
from tfcompress.train.techniques.regrowing import is_regrowth_step, regrow
from tfcompress.train.techniques.regularizing import Gate, Noise, Penalty, penalty_of
from tfcompress.train.techniques.schedules import rebuild_schedule
from tfcompress.weights import channel_saliency, curvature_saliency, expected_gate, kept_count, magnitude_mask

__all__ = ["FROM_GRADIENTS", "MEASURED", "Pruner", "expected_zeros", "update_masks", "why_not_prunable"]

FROM_GRADIENTS = ("taylor", "movement", "fisher")  # observed during training
MEASURED = ("taylor", "fisher", "obd")  # can be measured on data before it
_DECAY = 0.9


class Pruner:
    """The mask of one weight, its gates if it has them, and what its criterion has seen.

    A mask that is frozen keeps nothing but itself: gates are part of the weight by then.

    Args:
        target: What is asked; its sparsity has every step filled in.
        variable: The shadow weight.
        make: Makes a state variable.
    """

    def __init__(self, target: Target, variable: keras.Variable, make: Make) -> None:
        assert target.sparsity is not None and isinstance(target.sparsity.schedule, ScheduleSpec)
        shape = tuple(int(size) for size in variable.shape)
        self.sparsity: Sparsity = target.sparsity
        self.frozen = target.mask_frozen
        self.variable, self.seed, self.channel_axes = variable, (target.seed, target.position), target.channel_axes
        self._channel_spans = [axis for axis in range(len(shape)) if axis not in target.channel_axes]
        self.schedule = rebuild_schedule(target.sparsity.schedule)
        self.mask, self.threshold = make("mask", shape, True, dtype="bool"), make("threshold", (), 0.0)
        self.state = {"mask": self.mask, "threshold": self.threshold}
        self.importance = self.gradient = self.gate = None
        if self.frozen:
            return
        criterion, regularization = self.sparsity.criterion, self.sparsity.regularization
        regrowth = self.sparsity.regrowth
        if criterion not in ("magnitude", "threshold"):
            self.importance = self.state["importance"] = make("importance", shape, 0.0)
        learns = criterion in FROM_GRADIENTS if regrowth is None else regrowth.method == "rigl"
        if learns:
            self.gradient = self.state["gradient"] = make("gradient", shape, 0.0, aggregation="mean")
        if regularization is not None and regularization.kind == "l0":
            whole = self.sparsity.granularity == "channel"
            of_gates = tuple(1 if whole and axis in self._channel_spans else size for axis, size in enumerate(shape))
            self.gate = Gate(self.sparsity, of_gates, self.seed, make)
            self.state["log_alpha_tenth"] = self.gate.tenth

    @property
    def trained(self) -> list[keras.Variable]:
        """State that the optimizer trains: the gates."""
        return [] if self.gate is None else [self.gate.tenth]

    def penalize(self, step: keras.Variable) -> None:
        """Gives the weight, or its gates, the penalty of the recipe.

        Args:
            step: The wrapper's step counter.
        """
        regularization = self.sparsity.regularization
        if self.frozen or regularization is None:
            return
        variable = self.variable if self.gate is None else self.gate.tenth
        norm = penalty_of(self.sparsity, tuple(self.variable.shape), self.channel_axes, self.gate)
        variable.regularizer = Penalty(variable.regularizer, norm, regularization, step)

    def start(self) -> None:
        """Opens the gates; draws the random scores, which stay the same for the masks to be nested."""
        if self.gate is not None:
            self.gate.start(self._of_channels(tf.abs(full_precision(self.variable)), squared=True))
        if self.sparsity.criterion == "random" and not self.frozen:
            assert self.importance is not None
            self.importance.assign(tf.random.stateless_uniform(self.importance.shape, self.seed))

    def prune(self, weight: tf.Tensor, read: Read, noise: Noise | None = None) -> tf.Tensor:
        """The weight times its mask and its gates.

        Args:
            weight: The shadow weight, float32.
            read: Gives the value of a trained variable.
            noise: What `draw` gave, where gates are random; else None.
        """
        pruned = self.masked(weight)
        return pruned if self.gate is None else pruned * self.gate.value(read, noise)

    def masked(self, values: tf.Tensor) -> tf.Tensor:
        """Values of the weight's shape, with 0 where the mask prunes."""
        return tf.where(self.mask.value, values, 0.0)

    def draw(self, step: tf.Tensor | None) -> Noise | None:
        """The randomness of the gates in one training step; None without gates or without a step."""
        return None if self.gate is None or step is None else self.gate.draw(step)

    def take_over(self, before: Pruner) -> None:
        """Takes the mask that an earlier phase has chosen; what its gates have closed since stays closed."""
        self.mask.assign(before.prune(tf.ones(before.mask.shape), lambda variable: variable.value) > 0)
        self.threshold.assign(before.threshold.value)

    def renews_mask(self, step: tf.Tensor) -> tf.Tensor:
        """Whether the mask may change after this number of optimizer updates."""
        renews = self.schedule(step)[0]
        return renews if self.sparsity.regrowth is None else renews | is_regrowth_step(self.sparsity.regrowth, step)

    def needs_importance_first(self) -> bool:
        """Whether a mask is chosen before the first step, or no gradient will ever come."""
        if not self.variable.trainable:
            return True
        update, sparsity = self.schedule(tf.constant(0, tf.int64))
        return bool(update) and float(sparsity) > 0

    def remember(self, importance: tf.Tensor) -> None:
        """Takes over what was measured on data."""
        assert self.importance is not None
        self.importance.assign(importance)

    def observe(self, gradient: tf.Tensor) -> None:
        """Takes in dL/dw_hat of one call of the layer."""
        if self.gradient is not None:
            self.gradient.assign_add(gradient)

    def advance(self, updated: tf.Tensor) -> None:
        """Lets the importance follow after one optimizer update (`updated` is true then)."""
        if self.gradient is None or self.sparsity.regrowth is not None or not self.variable.trainable:
            return
        assert self.importance is not None
        gradient, before, weight = self.gradient.value, self.importance.value, full_precision(self.variable)
        if self.sparsity.criterion == "movement":
            after = before - weight * gradient
        else:
            seen = tf.abs(weight * gradient) if self.sparsity.criterion == "taylor" else tf.square(gradient)
            after = _DECAY * before + (1 - _DECAY) * seen
        self.importance.assign(tf.where(updated, after, before))
        self.forget_gradient(updated)

    def forget_gradient(self, updated: tf.Tensor) -> None:
        """Begins a new sum of gradients after an optimizer update."""
        if self.gradient is not None:
            gradient = self.gradient.value
            self.gradient.assign(tf.where(updated, tf.zeros_like(gradient), gradient))

    def growth(self, step: tf.Tensor) -> tf.Tensor:
        """What a pruned weight's regrowth is ranked by, >= 0: abs(dL/dw_hat), or a draw of this step."""
        if self.gradient is not None:
            return tf.abs(tf.convert_to_tensor(self.gradient.value))
        seed = tf.stack([self.seed[0] * 1_000_003 + self.seed[1], tf.cast(step, tf.int32)])
        return tf.random.stateless_uniform(self.mask.shape, seed)

    @property
    def has_signed_scores(self) -> bool:
        """Whether `saliency` has values below 0."""
        return self.sparsity.criterion == "movement" or (self.gate is not None and self.sparsity.target is not None)

    def saliency(self, weight: tf.Tensor) -> tf.Tensor:
        """What ranks each weight, or each channel with granularity "channel"."""
        criterion = self.sparsity.criterion
        if self.gate is not None:
            log_alpha = self.gate.log_alpha()
            return expected_gate(log_alpha) if self.sparsity.target is None else log_alpha
        score = tf.abs(weight) if self.importance is None else tf.convert_to_tensor(self.importance.value)
        if criterion in ("fisher", "obd"):
            score = curvature_saliency(weight, score)
        score = self._of_channels(score, squared=criterion in ("magnitude", "threshold"))
        if criterion == "threshold" and self.sparsity.granularity == "channel":
            score = score / math.sqrt(math.prod(weight.shape[axis] for axis in self._channel_spans))
        return score

    def score(self, weight: tf.Tensor, lowest: tf.Tensor | None = None) -> tf.Tensor:
        """`saliency`, shifted to be >= 0 where it has signs.

        Args:
            weight: The shadow weight, float32.
            lowest: What becomes 0; None means the lowest of this weight.
        """
        score = self.saliency(weight)
        if not self.has_signed_scores:
            return score
        return score - (tf.reduce_min(score) if lowest is None else lowest)

    def _of_channels(self, score: tf.Tensor, squared: bool) -> tf.Tensor:
        if self.sparsity.granularity != "channel":
            return score
        return channel_saliency(score, self._channel_spans, squared)


def update_masks(pruners: Sequence[Pruner], step: tf.Tensor, updated: Any = True) -> None:
    """Lets the schedules choose new masks at this step, and moves those that regrow.

    Args:
        pruners: The weights whose masks are not frozen.
        step: Number of optimizer updates done.
        updated: False when the optimizer only accumulated gradients since the last call.
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
    regrow(pruners, step, tf.convert_to_tensor(updated))


def _update_globally(group: list[Pruner], step: tf.Tensor) -> None:
    """One ranking of all weights of a group, for which TFMOT has nothing."""
    target = group[0].sparsity.target
    assert target is not None
    update, sparsity = group[0].schedule(step)
    sizes = [math.prod(pruner.mask.shape) for pruner in group]

    def new_masks() -> list[tf.Tensor]:
        weights = [tf.convert_to_tensor(pruner.variable._value) for pruner in group]
        lowest = None
        if group[0].has_signed_scores:
            pairs = zip(group, weights, strict=True)
            lowest = tf.reduce_min(tf.stack([tf.reduce_min(pruner.saliency(weight)) for pruner, weight in pairs]))
        scores = [tf.reshape(p.score(weight, lowest), [-1]) for p, weight in zip(group, weights, strict=True)]
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


def why_not_prunable(
    sparsity: Sparsity, shape: tuple[int, ...], channel_axes: Sequence[int], trainable: bool
) -> str | None:
    """Why a weight can not be pruned as asked, or None when it can.

    A frozen layer is pruned along the schedule like any other, but for what learns from its gradients.

    Args:
        sparsity: What is asked.
        shape: The weight's shape.
        channel_axes: Its output-channel axes.
        trainable: False for the weight of a frozen layer.
    """
    if not trainable:
        if sparsity.regularization is not None or sparsity.regrowth is not None:
            return "regularization and regrowth need a layer that trains, and this one is frozen"
        if sparsity.criterion == "movement":
            return "criterion 'movement' needs a layer that trains, and this one is frozen"
    if sparsity.block is not None:
        if tuple(channel_axes) != (len(shape) - 1,):
            return "blocks need a weight whose last axis is the output channel"
        rows, columns = sparsity.block
        if math.prod(shape[:-1]) % rows or shape[-1] % columns:
            return f"blocks of {sparsity.block} do not tile {math.prod(shape[:-1])} x {shape[-1]}"
    if sparsity.granularity == "channel" and math.prod(shape[axis] for axis in channel_axes) < 2:
        return "a single channel can not be pruned"
    if sparsity.n_of_m is not None:
        if len(shape) not in (2, 4):
            return "n of m needs a weight with two or four axes"
        group, inputs = sparsity.n_of_m[1], shape[-2]
        if inputs % group:
            return f"n of m needs input channels in multiples of {group}, not {inputs}"
    return None
