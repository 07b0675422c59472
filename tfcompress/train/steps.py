"""Training loops that advance the step counter of the wrappers inside of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from tfcompress.train.compressed import Compressed

__all__ = ["AdvancingModel"]


class AdvancingModel(keras.Model):
    """A model whose `fit` advances wrappers and whose `evaluate` and `predict` reuse w_hat."""

    def wrapped(self) -> tuple[Compressed, ...]:
        """The wrappers that one optimizer update advances."""
        raise NotImplementedError

    def train_step(self, data: Any) -> Any:
        """Keras' step, then one advance of every wrapper if the optimizer updated the weights."""
        before = tf.identity(tf.convert_to_tensor(self.optimizer.iterations))
        logs = super().train_step(data)
        after = tf.convert_to_tensor(self.optimizer.iterations)
        for wrapper in self.wrapped():
            wrapper.check_gradients()
            wrapper.advance(after > before)
        return logs

    def test_step(self, data: Any) -> Any:
        """Keras' step on a w_hat that `evaluate` has brought up to date."""
        with self._fresh():
            return super().test_step(data)

    def predict_step(self, data: Any) -> Any:
        """Keras' step on a w_hat that `predict` has brought up to date."""
        with self._fresh():
            return super().predict_step(data)

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[None]:
        for wrapper in self.wrapped():
            wrapper._cache_is_fresh = True
        try:
            yield
        finally:
            for wrapper in self.wrapped():
                wrapper._cache_is_fresh = False

    def _refresh_all(self) -> None:
        for wrapper in self.wrapped():
            wrapper.refresh()

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`; w_hat is computed once."""
        self._refresh_all()
        return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.predict`; w_hat is computed once."""
        self._refresh_all()
        return super().predict(*args, **kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.test_on_batch`."""
        self._refresh_all()
        return super().test_on_batch(*args, **kwargs)

    def predict_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.predict_on_batch`."""
        self._refresh_all()
        return super().predict_on_batch(*args, **kwargs)
