import keras
import numpy as np
import psutil
import pytest
from grid_models import run
from keras import layers

from tfcompress.convert import inspect, to_float_tflite
from tfcompress.errors import InvalidInputError


def test_outputs_equal_keras_at_any_batch_and_batchnorm_is_gone(cnn):
    x = np.random.default_rng(0).normal(size=(8, 12, 12, 3)).astype(np.float32)
    expected = {output.shape[-1]: output.numpy() for output in cnn.model(x)}
    for output in run(cnn.float_file, x):
        np.testing.assert_allclose(output, expected[output.shape[-1]], atol=1e-5)
    # A BatchNorm that was not folded would leave a MUL.
    assert {row.op for row in inspect(cnn.float_file)}.isdisjoint({"MUL", "SUB", "RSQRT"})


def test_recurrent_models_get_batch_1(gru):
    x = np.array([[1, 7, 3, 9, 30]], np.int32)
    (output,) = run(gru.float_file, x)
    np.testing.assert_allclose(output, gru.model(x).numpy(), atol=1e-5)


def test_nothing_is_printed(capfd):
    to_float_tflite(keras.Sequential([layers.Input((3,)), layers.Dense(2)]))
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_too_little_memory_is_refused_before_converting(monkeypatch):
    model = keras.Sequential([layers.Input((3,)), layers.Dense(2)])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10**6}))
    with pytest.raises(InvalidInputError, match="about 9 times the model's memory"):
        to_float_tflite(model)


def test_a_model_above_2_gib_is_refused(monkeypatch):
    model = keras.Sequential([layers.Input((3,)), layers.Dense(2)])
    monkeypatch.setattr(type(model), "count_params", lambda self: 2**29)
    with pytest.raises(InvalidInputError, match="below 2 GiB"):
        to_float_tflite(model)


def test_foreign_and_unbuilt_models_are_refused():
    with pytest.raises(InvalidInputError, match="Keras 3 model"):
        to_float_tflite("model.keras")
    with pytest.raises(InvalidInputError, match="built"):
        to_float_tflite(keras.Sequential([layers.Dense(2)]))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_models_are_converted_in_float32(policy):
    def build(dtype):
        inputs = layers.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, activation="relu", dtype=dtype)(inputs)
        x = layers.Flatten(dtype=dtype)(layers.BatchNormalization(dtype=dtype)(x))
        return keras.Model(inputs, layers.Dense(2, dtype=dtype)(x))

    mixed, full = build(policy), build("float32")
    full.set_weights(mixed.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    (output,) = run(to_float_tflite(mixed), x)
    np.testing.assert_allclose(output, full(x).numpy(), atol=1e-5)
    assert mixed.layers[-1].compute_dtype != "float32"


def test_the_reason_that_the_converter_swallows_is_told():
    inputs = layers.Input((8, 4))
    outputs = keras.ops.reshape(inputs, (keras.ops.shape(inputs)[0], 32))
    with pytest.raises(InvalidInputError, match=r"calling Reshape\.call\(\)\. Failed to convert elements"):
        to_float_tflite(keras.Model(inputs, outputs))
