"""Whole networks with 4-bit weights, and what the stock tools make of them: the files that `tools/bench_models` times.

    network_models.py NAME VARIANT FOLDER

writes FOLDER/VARIANT.tflite. One variant per process: TensorFlow's converter dies of some networks (calibrating an
LSTM), and must not take the others along.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
from keras import layers
from reference_models import lenet5

from tfcompress.convert import pack, to_float_tflite
from tfcompress.files import write_file

STOCK = ("float", "dynamic_int8", "full_int8", "quantizer_int8", "quantizer_int4")
SAMPLES = 8  # that calibrate full_int8


def resnet50() -> keras.Model:
    """ResNet50 for images of 224 x 224: 25.6 M weights, 3.9 G multiply-adds."""
    return keras.applications.ResNet50(weights=None)


def mobilenet_v2() -> keras.Model:
    """MobileNetV2 for images of 224 x 224: 3.5 M weights, 300 M multiply-adds."""
    return keras.applications.MobileNetV2(weights=None)


def lstm() -> keras.Model:
    """An LSTM of 128 units over the 28 rows of an image."""
    return keras.Sequential([keras.Input((28, 28)), layers.LSTM(128), layers.Dense(10)], name="lstm")


def attention() -> keras.Model:
    """One encoder block with two heads over 64 tokens of width 128."""
    x = keras.Input((64, 128))
    y = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 64)(x, x))
    z = layers.Dense(128)(layers.Dense(512, activation="relu")(y))
    z = layers.LayerNormalization()(y + z)
    return keras.Model(x, layers.Dense(10)(layers.GlobalAveragePooling1D()(z)), name="attention")


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
    "lenet5": lenet5,
    "lstm": lstm,
    "attention": attention,
}


def make(name: str, variant: str, folder: Path) -> bytes:
    """One variant of a network; all but the converter's start from the float file."""
    source = folder / "float.tflite"
    if variant == "packed":
        return pack(source.read_bytes())
    if variant.startswith("quantizer"):
        return _quantized(source.read_bytes(), 8 if variant == "quantizer_int8" else 4)
    keras.utils.set_random_seed(0)
    model = NETWORKS[name]()
    put_on_grid(model)
    return to_float_tflite(model) if variant == "float" else _converted(model, calibrated=variant == "full_int8")


def put_on_grid(model: keras.Model) -> None:
    """Gives every kernel random values on a 4-bit grid, at a scale under which activations keep their size."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables:
            if len(variable.shape) > 1:
                variable.assign(_on_grid(variable.shape, rng, variable.name == "depthwise_kernel"))
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.0, layer.gamma.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))


def _on_grid(shape: tuple[int, ...], rng: np.random.Generator, depthwise: bool) -> np.ndarray:
    weight = rng.normal(size=shape)
    rest = (0, 1) if depthwise else tuple(range(len(shape) - 1))
    fan_in = np.prod([shape[axis] for axis in rest])
    step = (np.abs(weight).max(axis=rest, keepdims=True) / 7).astype(np.float32)
    return (np.rint(weight / step) * step * np.float32(np.sqrt(1 / fan_in))).astype(np.float32)


def _converted(model: keras.Model, calibrated: bool) -> bytes:
    """By TensorFlow's converter: int8 weights, or int8 throughout behind a float input."""
    import tensorflow as tf

    source = model
    if any(isinstance(layer, layers.RNN) for layer in model.layers):
        x = keras.Input(batch_shape=(1, *model.input_shape[1:]))
        source = keras.Model(x, model(x))
    converter = tf.lite.TFLiteConverter.from_keras_model(source)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if calibrated:
        converter.representative_dataset = lambda: _samples(source)
    return converter.convert()


def _samples(model: keras.Model) -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(1)
    for _ in range(SAMPLES):
        yield [rng.random((1, *model.input_shape[1:])).astype(np.float32)]


def _quantized(content: bytes, num_bits: int) -> bytes:
    """By ai-edge-quantizer: int8 or int4 weights, activations quantized while running."""
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(bytearray(content))
    tool.load_quantization_recipe(recipe.dynamic_wi8_afp32() if num_bits == 8 else recipe.dynamic_wi4_afp32())
    return bytes(tool.quantize().quantized_model)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        network, wanted, place = sys.argv[1], sys.argv[2], Path(sys.argv[3])
        made = make(network, wanted, place)
        write_file(place / f"{wanted}.tflite", made)
