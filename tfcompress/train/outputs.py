"""What a model's outputs are: logits, or what a softmax or a sigmoid made of them."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfcompress.errors import InvalidInputError

__all__ = ["output_kinds", "to_logits"]

_TINY = 1e-30


def output_kinds(student: keras.Model, teacher: keras.Model) -> list[str]:
    """The kind of every output, the same in both models.

    Returns:
        "softmax", "sigmoid" or "linear" for each output.

    Raises:
        InvalidInputError: The models end differently.
    """
    kinds = [_kinds(model) for model in (student, teacher)]
    if kinds[0] != kinds[1]:
        raise InvalidInputError(
            "student and teacher must end in the same kind of output", f"student={kinds[0]}, teacher={kinds[1]}"
        )
    return kinds[0]


def _kinds(model: keras.Model) -> list[str]:
    outputs = getattr(model, "outputs", None)
    if not outputs:
        return [_kind(model)]
    return [_kind(output._keras_history.operation) for output in outputs]


def _kind(operation: Any) -> str:
    """The kind of an operation's output: of its last layer, if it is a model."""
    if isinstance(operation, keras.layers.Softmax):
        return "softmax"
    activation = getattr(operation, "activation", None)
    if activation is not None:
        return {"softmax": "softmax", "sigmoid": "sigmoid"}.get(getattr(activation, "__name__", ""), "linear")
    if isinstance(operation, keras.Model) and operation.layers:
        outputs = getattr(operation, "outputs", None)
        return _kinds(operation)[0] if outputs else _kind(operation.layers[-1])
    inner = getattr(operation, "layer", None) or getattr(operation, "inner", None)
    return _kind(inner) if isinstance(inner, keras.Layer) else "linear"


def to_logits(outputs: tf.Tensor, kind: str) -> tf.Tensor:
    """Logits that give these outputs, float32.

    Softmax: `log p - mean(log p)`; any other constant gives the same distribution. Sigmoid:
    `log p - log(1 - p)`. Probabilities below 1e-30 count as 1e-30.

    Args:
        outputs: [..., classes].
        kind: "softmax", "sigmoid" or "linear".
    """
    outputs = tf.cast(outputs, tf.float32)
    if kind == "softmax":
        logits = tf.math.log(tf.maximum(outputs, _TINY))
        return logits - tf.reduce_mean(logits, axis=-1, keepdims=True)
    if kind == "sigmoid":
        return tf.math.log(tf.maximum(outputs, _TINY)) - tf.math.log(tf.maximum(1.0 - outputs, 1e-7))
    return outputs
