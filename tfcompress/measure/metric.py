"""What a good output is: accuracy by default, else any Keras metric or function with a direction."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tfcompress.errors import InvalidInputError

__all__ = ["Direction", "Metric", "as_metric"]

Direction = Literal["max", "min"]

_LARGER_IS_BETTER = ("accuracy", "auc", "precision", "recall", "iou", "f1", "fbeta", "r2", "sensitivity", "specificity")
_SMALLER_IS_BETTER = ("error", "loss", "crossentropy", "divergence", "hinge", "poisson", "logcosh", "log_cosh")


@dataclasses.dataclass(frozen=True)
class Metric:
    """A figure of merit over a whole data set.

    Attributes:
        name: Name in tables and in `result.json`.
        direction: "max" when larger is better, "min" when smaller is.
        value: (labels, outputs) -> the figure.
        scores: (labels, outputs) -> one score per sample whose mean is the figure; None where the
            figure is no mean over samples.
    """

    name: str
    direction: Direction
    value: Callable[[Any, Any], float]
    scores: Callable[[Any, Any], np.ndarray] | None = None

    def drop(self, before: float, after: float) -> float:
        """How much worse `after` is than `before`, in the metric's own unit; negative is better."""
        return before - after if self.direction == "max" else after - before


def as_metric(metric: Any = None, direction: Direction | None = None) -> Metric:
    """Makes a `Metric` of what a user gives.

    Args:
        metric: None for accuracy; a `Metric`; a `keras.metrics.Metric` or its name; or a callable
            (labels, outputs) -> float, which gets the whole structure of a many-output model.
        direction: "max" or "min"; needed when the name does not tell.

    Raises:
        InvalidInputError: The name is unknown, or the direction is missing.
    """
    if direction not in (None, "max", "min"):
        raise InvalidInputError("direction must be 'max' or 'min'", f"direction='{direction}'", "Choose one of the two")
    if metric is None or metric in ("accuracy", "acc"):
        return Metric("accuracy", "max", lambda y, p: float(np.mean(_is_correct(y, p))), _is_correct)
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        metric = _keras_metric(metric)
    if hasattr(metric, "update_state"):
        return Metric(metric.name, direction or _direction_of(metric.name), _stateful_value(metric))
    if callable(metric):
        name = str(getattr(metric, "__name__", type(metric).__name__))
        return Metric(name, direction or _direction_of(name), lambda y, p: float(np.mean(np.asarray(metric(y, p)))))
    raise InvalidInputError(
        "metric must be a Keras metric, its name, or a callable", f"metric={metric!r}", "Pass one of these"
    )


def _keras_metric(name: str) -> Any:
    import keras

    try:
        found = keras.metrics.get(name)
    except ValueError:
        raise InvalidInputError(
            "metric must be the name of a Keras metric", f"metric='{name}'", "See keras.metrics for the names"
        ) from None
    if inspect.isclass(found):
        return found()
    return found if hasattr(found, "update_state") else keras.metrics.MeanMetricWrapper(found, name=name)


def _direction_of(name: str) -> Direction:
    lowered = name.lower()
    if any(word in lowered for word in _LARGER_IS_BETTER):
        return "max"
    if any(word in lowered for word in _SMALLER_IS_BETTER) or lowered in ("mse", "mae", "mape", "msle", "rmse"):
        return "min"
    raise InvalidInputError(
        "a metric must have a direction", f"metric='{name}'", "Pass direction='max' or direction='min'"
    )


def _stateful_value(metric: Any) -> Callable[[Any, Any], float]:
    def value(labels: Any, outputs: Any) -> float:
        if isinstance(outputs, (list, dict)):
            raise InvalidInputError(
                "a Keras metric must have one output to judge",
                f"metric='{metric.name}', {len(outputs)} outputs",
                "Pass a callable (labels, outputs) -> float and its direction",
            )
        metric.reset_state()
        metric.update_state(labels, outputs)
        return float(metric.result())

    return value


def _is_correct(labels: Any, outputs: Any) -> np.ndarray:
    """1.0 where the most probable class is the label's; a mean over positions where there are many."""
    if isinstance(outputs, (list, dict)):
        raise InvalidInputError(
            "accuracy must have one output to judge",
            f"{len(outputs)} outputs",
            "Pass metric=, a callable (labels, outputs) -> float, and its direction",
        )
    labels, outputs = np.asarray(labels), np.asarray(outputs)
    if outputs.shape[-1] == 1 and labels.size == outputs.size:
        threshold = 0.5 if outputs.min() >= 0 and outputs.max() <= 1 else 0.0
        hits = (outputs > threshold).reshape(labels.shape) == (labels > 0.5)
    elif labels.shape == outputs.shape:
        hits = labels.argmax(-1) == outputs.argmax(-1)
    elif labels.size == outputs.size // outputs.shape[-1]:
        hits = labels.reshape(outputs.shape[:-1]) == outputs.argmax(-1)
    else:
        raise InvalidInputError(
            "labels must be classes, or one-hot rows, of the model's outputs",
            f"labels of shape {labels.shape}, outputs of shape {outputs.shape}",
            "Pass metric= for a model that is no classifier",
        )
    return np.asarray(hits.reshape(len(labels), -1).mean(axis=1))
