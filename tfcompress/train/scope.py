"""A scope that substitutes reads of variables and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend import AutocastScope

__all__ = ["SubstituteScope", "full_precision"]


def full_precision(variable: keras.Variable) -> tf.Tensor:
    """Reads a variable in its own dtype, also where mixed precision would cast it."""
    with AutocastScope(None):
        return tf.convert_to_tensor(variable.value)


class SubstituteScope(keras.StatelessScope):
    """Answers reads of some variables with tensors; every write goes through at once.

    A plain `StatelessScope` holds writes back: state, seeds and statistics would be lost or would
    leak out of inner graphs. Here a write goes to the enclosing scope if there is one, else to the
    variable itself. Losses are collected in `losses` for the caller to add again.

    Args:
        substitutes: id of a variable -> the tensor that reads see.
        compute: Variable -> its substitute, for a variable that the layer itself assigns.
    """

    def __init__(self, substitutes: dict[int, tf.Tensor], compute: Callable[[keras.Variable], tf.Tensor]) -> None:
        super().__init__(collect_losses=True)
        self._substitutes = substitutes
        self._compute = compute

    def get_current_value(self, variable: keras.Variable) -> Any:
        """The substitute, else the enclosing scope's value, else None (the variable's own)."""
        substitute = self._substitutes.get(id(variable))
        if substitute is not None:
            return substitute
        return None if self.original_scope is None else self.original_scope.get_current_value(variable)

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        """Writes through. A layer that assigns a substituted variable moves the value underneath.

        The layer has seen w_hat and asks for v (SpectralNormalization divides its kernel): the
        variable moves by v - w_hat, so that what lies below the quantizer's step is kept.
        """
        variable, value = update
        substitute = self._substitutes.get(id(variable))
        if substitute is None:
            self._write(variable, value)
            return
        hidden, self._substitutes = self._substitutes, {}
        try:
            moved = full_precision(variable) + value - tf.cast(substitute, value.dtype)
            self._write(variable, tf.stop_gradient(moved))
            hidden[id(variable)] = self._compute(variable)
        finally:
            self._substitutes = hidden

    def _write(self, variable: keras.Variable, value: tf.Tensor) -> None:
        if self.original_scope is None:
            variable._direct_assign(value)
        else:
            self.original_scope.add_update((variable, value))
