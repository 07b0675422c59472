"""The compressed weights of the present weight version, so that inference does not compute them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfcompress.train.scope import full_precision
from tfcompress.train.techniques.transform import Transform
from tfcompress.weights import fused

__all__ = ["WeightCache"]


class WeightCache:
    """w_hat of every target, filled again when the weights have changed.

    A hash of the weights and of the compression state tells whether they have. The cache is no
    part of the model's weights: it is neither saved nor counted. It takes a float copy of them from the
    first inference on; training alone does without.

    Args:
        transforms: The compressed variables.
        step: The wrapper's step counter.
    """

    def __init__(self, transforms: Sequence[Transform], step: keras.Variable) -> None:
        self._transforms, self._step = tuple(transforms), step
        self._values: tuple[tf.Variable, ...] = ()
        self._fingerprint = _local(tf.zeros(len(self._transforms) + 1, tf.int32))
        if tf.distribute.has_strategy():
            self._allocate()  # no variable can be made once replicas run

    def refresh(self) -> None:
        """Computes w_hat again if anything that it depends on has changed."""
        if not self._transforms:
            return
        if not self._values:
            self._allocate()
        current = self._current_fingerprint()

        def fill() -> tf.Tensor:
            for transform, value in zip(self._transforms, self._values, strict=True):
                value.assign(transform.compute(full_precision(transform.variable)))
            self._fingerprint.assign(current)
            return tf.constant(True)

        tf.cond(tf.reduce_all(current == self._fingerprint), lambda: tf.constant(False), fill)

    def _allocate(self) -> None:
        with tf.init_scope():
            self._values = tuple(_local(tf.zeros(t.variable.shape, tf.float32)) for t in self._transforms)

    def invalidate(self) -> None:
        """Forgets w_hat, after a mask was written from outside."""
        self._fingerprint.assign(tf.zeros_like(self._fingerprint))

    def read(self, index: int) -> tf.Tensor:
        """The cached w_hat of one target; only where its gradient is asked for it is computed again."""
        transform, cached = self._transforms[index], self._values[index]

        @tf.custom_gradient
        def value_of(weight: tf.Tensor, *trained: tf.Tensor) -> tuple:
            def gradient(upstream: tf.Tensor) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch([weight, *trained])
                    value = transform.compute(weight, *trained)
                return tape.gradient(value, [weight, *trained], output_gradients=upstream)

            return tf.identity(cached), gradient

        return value_of(full_precision(transform.variable), *(variable.value for variable in transform.trained))

    def _current_fingerprint(self) -> tf.Tensor:
        """One number per weight, and the step, which stands for the masks: they change with it."""
        # Odd, so that it never equals the 0 of a cache that was not filled.
        prints = [2 * tf.cast(self._step.value, tf.int32) + 1]
        for transform in self._transforms:
            parts = [full_precision(transform.variable)]
            parts += [variable.value for name, variable in transform.state.items() if name != "mask"]
            prints.append(tf.add_n([_hash(part) for part in parts]))
        return tf.stack(prints)


def _local(value: tf.Tensor) -> tf.Variable:
    return tf.Variable(value, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


@fused
def _hash(tensor: tf.Tensor) -> tf.Tensor:
    """A 32-bit hash of float32 values and their places: the sum of a mixed word for each."""
    word = tf.bitcast(tf.reshape(tensor, [-1]), tf.uint32)
    place = tf.cast(tf.range(tf.size(tensor)), tf.uint32)
    # Multipliers and shifts of MurmurHash3. A plain weighted sum of the bits would not do: equal
    # steps of round numbers (all scales doubled) cancel in it.
    word = (word ^ (place * tf.constant(0xCC9E2D51, tf.uint32))) * tf.constant(0x1B873593, tf.uint32)
    word = (word ^ tf.bitwise.right_shift(word, tf.constant(15, tf.uint32))) * tf.constant(0x85EBCA6B, tf.uint32)
    word = word ^ tf.bitwise.right_shift(word, tf.constant(13, tf.uint32))
    return tf.reduce_sum(tf.bitcast(word, tf.int32))
