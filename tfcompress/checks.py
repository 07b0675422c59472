"""Everything that can be found wrong before training, and the loss that fits the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcompress.data import Data, Samples
from tfcompress.errors import InvalidInputError
from tfcompress.measure import Metric, leaves

if TYPE_CHECKING:
    import keras

__all__ = ["check_inputs", "check_labels", "check_metric", "check_teacher", "choose_loss"]


def check_inputs(model: keras.Model, samples: Samples) -> None:
    """Checks every sample against the model before any training.

    Raises:
        InvalidInputError: Inputs that the model does not have, a shape that does not fit, or a value
            that is no finite number.
    """
    for index, (x, y, weights) in enumerate(samples.start()):
        if index == 0:
            _check_shapes(model, x, samples.name)
        for kind, part in (("x", x), ("y", y), ("sample weights of ", weights)):
            for leaf in leaves(part) if part is not None else ():
                if leaf.dtype.kind in "fc" and not np.isfinite(leaf).all():
                    raise InvalidInputError(
                        f"{kind}{'_' if len(kind) == 1 else ''}{samples.name} must be finite numbers",
                        f"NaN or infinity in batch {index}",
                        "Remove or mend these samples",
                    )
                if leaf.dtype.kind not in "fiub":
                    raise InvalidInputError(
                        f"{kind}_{samples.name} must be numbers", f"dtype={leaf.dtype}", "Encode them as numbers"
                    )


def _check_shapes(model: keras.Model, x: Any, name: str) -> None:
    expected = getattr(model, "inputs", None)
    if not expected:
        return
    names = [tensor.name for tensor in expected]
    if isinstance(x, Mapping):
        if not set(names) <= set(x):
            raise InvalidInputError(
                f"x_{name} must have the model's inputs: {', '.join(names)}",
                f"x_{name} with {', '.join(sorted(x))}",
                "Name the arrays after the inputs",
            )
        arrays = [x[input_name] for input_name in names]
    else:
        arrays = list(x) if isinstance(x, (list, tuple)) else [x]
    if len(arrays) != len(names):
        raise InvalidInputError(
            f"x_{name} must have {len(names)} inputs: {', '.join(names)}", f"{len(arrays)} arrays", "Give one for each"
        )
    for tensor, array in zip(expected, arrays, strict=True):
        shape = tuple(tensor.shape)[1:]
        fits = array.ndim == len(shape) + 1 and all(
            want is None or want == got for want, got in zip(shape, array.shape[1:], strict=True)
        )
        if not fits:
            raise InvalidInputError(
                f"x_{name} must have shape (samples, {', '.join(str(n) for n in shape)}) for input '{tensor.name}'",
                f"shape={('samples', *array.shape[1:])}".replace("'", ""),
                "Reshape the data, or give the model that they belong to",
            )


def choose_loss(model: keras.Model, data: Data, loss: Any = None) -> Any:
    """The loss to train with: the given one, else the compiled one, else a cross-entropy that fits.

    Whether outputs are probabilities or logits is seen from the outputs themselves: rows that are
    non-negative and sum to 1 are probabilities.

    Args:
        model: The model; called once on the first batch.
        data: The samples.
        loss: A Keras loss, its name, or None.

    Raises:
        InvalidInputError: The model does not accept the data, or no loss can be told from them.
    """
    x, y, _ = data.train.first()
    outputs = _outputs(model, x)
    if loss is None and getattr(model, "compiled", False) and getattr(model, "loss", None) is not None:
        loss = model.loss
    if loss is not None:
        return loss
    import keras

    kind = _label_kind(y, outputs)
    if kind == "sparse":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=not _are_probabilities(outputs[0]))
    if kind == "categorical":
        return keras.losses.CategoricalCrossentropy(from_logits=not _are_probabilities(outputs[0]))
    if kind == "binary":
        is_probability = outputs[0].min() >= 0 and outputs[0].max() <= 1
        return keras.losses.BinaryCrossentropy(from_logits=not is_probability)
    raise InvalidInputError(
        "a loss must be given for a model that is not compiled and no plain classifier",
        f"labels of shape {_shapes(leaves(y))}, outputs of shape {_shapes(outputs)}",
        "Pass loss= (--loss NAME), or save the model compiled",
    )


def check_labels(model: keras.Model, samples: Samples, loss: Any) -> None:
    """Checks class labels against the model's outputs, where the loss takes class numbers.

    Raises:
        InvalidInputError: A label that is no class of the model.
    """
    if "sparse_categorical_crossentropy" not in _loss_name(loss):
        return
    x, _, _ = samples.first()
    outputs = _outputs(model, x)
    if len(outputs) != 1:
        return
    classes = outputs[0].shape[-1]
    for _, y, _ in samples.start():
        labels = np.asarray(y)
        if labels.size and (labels.min() < 0 or labels.max() >= classes or (labels != np.floor(labels)).any()):
            raise InvalidInputError(
                f"y_{samples.name} must be whole numbers from 0 to {classes - 1}, the model's classes",
                f"labels from {labels.min():g} to {labels.max():g}",
                "Mend the labels, or give a model with enough outputs",
            )


def check_metric(model: keras.Model, samples: Samples, metric: Metric) -> None:
    """Checks on one batch that the metric takes these labels and outputs and gives a number.

    Raises:
        InvalidInputError: It does not.
    """
    x, y, _ = samples.first()
    try:
        value = metric.value(y, model.predict_on_batch(x))
    except InvalidInputError:
        raise
    except Exception as error:  # A user's metric may raise anything.
        reason = " ".join(str(error).split())[:200]
        raise InvalidInputError(
            "the metric must take the labels and the model's outputs",
            f"metric='{metric.name}' ({type(error).__name__}: {reason})",
            "Pass one that does; with many outputs, a callable (labels, outputs) -> float",
        ) from None
    if not np.isfinite(value):
        raise InvalidInputError("the metric must give a finite number", f"metric='{metric.name}' gave {value}", "")


def check_teacher(model: keras.Model, teacher: keras.Model, samples: Samples) -> None:
    """Checks on one batch that the teacher speaks of the same outputs as the model.

    Raises:
        InvalidInputError: It does not accept the data, or its outputs have other shapes.
    """
    x, _, _ = samples.first()
    ours, theirs = (_shapes(_outputs(each, x)) for each in (model, teacher))
    if ours != theirs:
        raise InvalidInputError(
            "the teacher must have outputs of the model's shapes",
            f"teacher='{teacher.name}' with {theirs}, model='{model.name}' with {ours}",
            "Give a teacher trained for the same task",
        )


def _outputs(model: keras.Model, x: Any) -> list[np.ndarray]:
    try:
        return leaves(model.predict_on_batch(x))
    except Exception as error:  # A model's own code may raise anything on data that do not fit it.
        reason = " ".join(str(error).split())[:200]
        raise InvalidInputError("the model must accept the data", f"{type(error).__name__}: {reason}", "") from None


def _label_kind(y: Any, outputs: list[np.ndarray]) -> str:
    labels = leaves(y)
    if len(labels) != 1 or len(outputs) != 1 or outputs[0].ndim < 2:
        return "other"
    target, output = labels[0], outputs[0]
    classes = output.shape[-1]
    is_whole = target.dtype.kind in "iub" or bool((target == np.floor(target)).all())
    if classes > 1 and is_whole and target.shape in (output.shape[:-1], (*output.shape[:-1], 1)):
        return "sparse"
    if classes > 1 and target.shape == output.shape and _are_probabilities(target.astype(np.float64)):
        return "categorical"
    if classes == 1 and is_whole and target.size == output.size and set(np.unique(target)) <= {0, 1}:
        return "binary"
    return "other"


def _are_probabilities(rows: np.ndarray) -> bool:
    return bool(rows.min() >= 0 and np.allclose(rows.sum(axis=-1), 1, atol=1e-3))


def _loss_name(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", ""))


def _shapes(arrays: list[np.ndarray]) -> str:
    return ", ".join(str(array.shape) for array in arrays)
