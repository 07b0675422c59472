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
            memory at hand, uses an op that TFLite lacks, or computes in half precision and can not be
            rebuilt in float32.
    """
    _check(model)
    source = _in_float32(model)
    source = _with_batch_1(source) if _is_recurrent(source) else source
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


def _in_float32(model: Any) -> Any:
    """The same layers with float32 arithmetic: TFLite's float kernels know no half precision."""
    import keras

    if not any(layer.compute_dtype in ("float16", "bfloat16") for layer in _layers(model)):
        return model
    try:
        config = _float32_config(keras.saving.serialize_keras_object(model))
        copy = keras.saving.deserialize_keras_object(config, safe_mode=False)
        for source, destination in zip(model.variables, copy.variables, strict=True):
            destination.assign(source.value)
    except (NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            "a model of mixed precision must be one that its config rebuilds in float32",
            f"model='{model.name}' ({_one_line(error)})",
            "Build the model under the policy float32 and load the weights into it",
        ) from error
    return copy


def _float32_config(config: Any) -> Any:
    """A Keras config with every policy, and every dtype of an input, turned to float32."""
    if isinstance(config, dict):
        if config.get("class_name") in ("DTypePolicy", "FloatDTypePolicy"):
            return {**config, "config": {**config["config"], "name": "float32"}}
        return {key: _float32_config(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_float32_config(value) for value in config)
    return "float32" if config in ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16") else config


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
            with _silenced(log):
                cause = _export_error(model) or error
            raise InvalidInputError(
                "every layer of the model must be convertible to TFLite builtin ops",
                f"model='{name}' ({_one_line(cause)})",
                "Replace the layer that is named here",
            ) from cause
    return content


def _export_error(model: Any) -> Exception | None:
    """Why Keras can not export the model, which the converter does not tell; None when it can."""
    with tempfile.TemporaryDirectory(prefix="tfcompress-") as folder:
        try:
            model.export(folder, verbose=False)
        except Exception as error:
            return error
    return None


def _one_line(error: Exception) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", f"{error}")
    return re.sub(r"\s+", " ", text).strip()[:400] or type(error).__name__


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
