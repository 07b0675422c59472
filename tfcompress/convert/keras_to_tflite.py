"""Keras model to float .tflite, with BatchNorm folded by the converter."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import psutil

from tfcompress.errors import InvalidInputError

if TYPE_CHECKING:
    import keras

__all__ = ["to_float_tflite"]

MAX_BYTES = 2**31  # a flatbuffer's offsets are signed 32-bit numbers
PEAK = 9  # the converter's peak memory in multiples of the model, measured
RESERVE = 256 * 2**20


def to_float_tflite(model: keras.Model) -> bytes:
    """Converts a Keras 3 model.

    The batch dimension of the file can be resized, except for models with recurrent layers: the
    converter unrolls their lists for a fixed batch, here 1.

    Args:
        model: A built model; `finalize` a compressed one first.

    Returns:
        Bytes of a float32 .tflite file.

    Raises:
        InvalidInputError: The model is not built, is wrapped, is too large for a .tflite or for the
            memory at hand, or uses an op that TFLite lacks.
    """
    _check(model)
    source = _with_batch_1(model) if _is_recurrent(model) else model
    return _convert(source, model.name)


def _check(model: Any) -> None:
    import keras

    if not isinstance(model, keras.Model):
        raise InvalidInputError(
            "the model must be a Keras 3 model", f"model={type(model).__module__}.{type(model).__name__}"
        )
    if not model.built:
        raise InvalidInputError(
            "a model must be built before it is converted", f"model='{model.name}'", "Call it once on data"
        )
    wrapped = next((each for each in _layers(model) if type(each).__module__ == "tfcompress.train.compressed"), None)
    if wrapped is not None:
        raise InvalidInputError(
            "a compressed model must be finalized before it is converted",
            f"wrapper '{wrapped.name}'",
            "Convert `finalize(model).model`",
        )
    size = 4 * model.count_params()
    if size >= MAX_BYTES:
        raise InvalidInputError(
            "a .tflite file must stay below 2 GiB", f"model='{model.name}' with {size / 2**30:.1f} GiB of float weights"
        )
    needed, available = PEAK * size + RESERVE, psutil.virtual_memory().available
    if needed > available:
        raise InvalidInputError(
            f"converting takes about {PEAK} times the model's memory, {needed / 2**20:.0f} MiB",
            f"{available / 2**20:.0f} MiB available",
            "Free memory, or convert on a larger machine",
        )


def _layers(model: Any) -> Iterator[Any]:
    yield from model._flatten_layers(include_self=True, recursive=True)


def _is_recurrent(model: Any) -> bool:
    import keras

    return any(isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)) for layer in _layers(model))


def _with_batch_1(model: Any) -> Any:
    """The same layers behind inputs of batch 1."""
    import keras

    if not model.inputs:
        raise InvalidInputError(
            "a recurrent model must have symbolic inputs to be converted",
            f"model='{model.name}' of class {type(model).__name__}",
            "Build it as a Functional or Sequential model",
        )

    def fixed(tensor: Any) -> Any:
        return keras.Input(batch_shape=(1, *tensor.shape[1:]), dtype=tensor.dtype, name=tensor.name)

    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    inputs = keras.tree.map_structure(fixed, structure)
    return keras.Model(inputs, model(inputs))


def _convert(model: Any, name: str) -> bytes:
    import tensorflow as tf

    with tempfile.TemporaryFile() as log:
        try:
            with _silenced(log):
                content: bytes = tf.lite.TFLiteConverter.from_keras_model(model).convert()
        except Exception as error:
            reason = re.sub(r"\s+", " ", f"{error}").strip() or type(error).__name__
            raise InvalidInputError(
                "every layer of the model must be convertible to TFLite builtin ops",
                f"model='{name}' ({reason[:400]})",
                "Replace the layer that is named here",
            ) from error
    return content


@contextlib.contextmanager
def _silenced(log: IO[bytes]) -> Iterator[None]:
    """Sends what Python and native code print, on either stream, into `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(stream) for stream in (1, 2)]
    try:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            yield
    finally:
        for stream, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
