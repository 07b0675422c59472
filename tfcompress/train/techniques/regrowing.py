"""Dynamic sparse training: the masks of a recipe's `Regrowth` move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfcompress.recipe import Regrowth
from tfcompress.train.scope import full_precision
from tfcompress.weights import drop_and_grow, drop_fraction

if TYPE_CHECKING:
    from tfcompress.train.techniques.pruning import Pruner

__all__ = ["is_regrowth_step", "regrow"]


def is_regrowth_step(regrowth: Regrowth, step: tf.Tensor) -> tf.Tensor:
    """Whether masks move after this number of optimizer updates."""
    assert regrowth.every is not None and regrowth.end_step is not None
    return (step > 0) & (step < regrowth.end_step) & (step % regrowth.every == 0)


def regrow(pruners: Sequence[Pruner], step: tf.Tensor, updated: tf.Tensor) -> None:
    """Drops and grows where this step says so; a grown weight starts at 0.

    Args:
        pruners: Weights of which some have a regrowth.
        step: Number of optimizer updates done.
        updated: False when the optimizer only accumulated gradients since the last call.
    """
    groups: dict[str, list[Pruner]] = {}
    for pruner in pruners:
        if pruner.sparsity.regrowth is not None:
            groups.setdefault(pruner.sparsity.regrowth.model_dump_json(), []).append(pruner)
    for group in groups.values():
        _regrow_together(group, step, updated)


def _regrow_together(group: list[Pruner], step: tf.Tensor, updated: tf.Tensor) -> None:
    regrowth = group[0].sparsity.regrowth
    assert regrowth is not None and regrowth.end_step is not None
    share = drop_fraction(step, regrowth.fraction, regrowth.end_step)

    def update(strategy: Any) -> None:
        def move() -> tf.Operation:
            for pruner in group:
                weight, before = full_precision(pruner.variable), tf.convert_to_tensor(pruner.mask.value)
                mask = drop_and_grow(weight, before, pruner.growth(step), share)
                started = tf.where(mask & ~before, 0.0, weight)
                for variable, value in ((pruner.variable, started), (pruner.mask, mask)):
                    strategy.extended.update(variable._value, lambda v, new: v.assign(new), args=(value,))
            return tf.no_op()

        tf.cond(updated & is_regrowth_step(regrowth, step), move, tf.no_op)

    # Replicas change a variable of the model together, as optimizers do.
    context = tf.distribute.get_replica_context()
    if context is None:
        update(tf.distribute.get_strategy())
    else:
        context.merge_call(update)
    for pruner in group:
        pruner.forget_gradient(updated)
