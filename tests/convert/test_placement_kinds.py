"""Depthwise convolutions and products of signs: recognised, stored, expanded, and computed by the delegate."""

import keras
import numpy as np
import pytest
from grid_models import run
from keras import layers

import tfcompress
from tfcompress.convert import audit, expand, inspect, pack, to_float_tflite
from tfcompress.convert.graph import load, op_name, save
from tfcompress.errors import PayloadError
from tfcompress.runtime import Interpreter


def always(_):
    return 2.0


def never(_):
    return 0.5


def names(content: bytes) -> list[str]:
    model = load(content)
    return [op_name(model, operator) for operator in model.subgraphs[0].operators]


def run_packed(content: bytes, x: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content, num_threads=1)
    (detail,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(detail["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.fixture(scope="module")
def signs():
    """Convolutions and dense layers of signs behind BatchNorm, a pool and a reshape."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    kernels = [layers.Conv2D(32, 3, padding="same", use_bias=False), layers.Conv2D(40, 3, strides=2), layers.Dense(24)]
    x = image = layers.Input((10, 10, 3))
    x = layers.Conv2D(32, 3, padding="same", use_bias=False)(x)
    for layer in kernels:
        x = layers.BatchNormalization()(x) if len(x.shape) == 4 else x
        x = tfcompress.BinaryActivation()(x)
        if layer is kernels[1]:
            x = layers.MaxPooling2D(2)(x)
        if layer is kernels[2]:
            x = layers.Flatten()(x)
        x = layer(x)
    model = keras.Model(image, layers.Dense(5)(x))
    for layer in kernels:
        layer.kernel.assign(rng.choice([-0.3, 0.3], layer.kernel.shape))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape) * rng.choice([-1, 1], layer.gamma.shape))
            # Sums of signs are often 0, whose sign rounding decides; no threshold may lie there.
            layer.beta.assign(rng.normal(size=layer.beta.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.gamma.shape))
    return model, to_float_tflite(model)


def test_products_of_signs_have_ops_of_their_own(signs):
    _, source = signs
    packed = pack(source, speedup=always)
    ops = names(packed)
    assert ops.count("TfcBinaryConv2D") == 2 and ops.count("TfcBinaryFullyConnected") == 1
    assert ops.count("SELECT_V2") == 3
    assert names(pack(source, speedup=never)).count("TfcBinaryConv2D") == 0
    assert pack(expand(packed), speedup=always) == packed
    assert [name for name in names(expand(packed)) if name.startswith("Tfc")] == []
    held = {row.op: row for row in inspect(packed) if "Binary" in row.op}
    assert {row.encoding for row in held.values()} == {"binary"} and {row.bits for row in held.values()} == {1}
    assert audit(packed).passed


@pytest.mark.parametrize("arithmetic", ["", "float"])
def test_signs_are_exact(signs, arithmetic, monkeypatch):
    monkeypatch.setenv("TFC_ACT", arithmetic)
    model, source = signs
    content = pack(source, speedup=lambda each: 2.0 if "Binary" in each.name else 0.5)
    x = np.random.default_rng(1).normal(size=(7, 10, 10, 3)).astype(np.float32)
    for expected in (np.asarray(model(x)), run(expand(content), x)[0]):
        np.testing.assert_allclose(run_packed(content, x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_weights_of_signs_behind_other_activations_are_no_product_of_signs():
    rng = np.random.default_rng(0)
    layer = layers.Conv2D(32, 3, padding="same")
    model = keras.Sequential([layers.Input((8, 8, 16)), layers.ReLU(), layer])
    layer.kernel.assign(rng.choice([-1.0, 1.0], layer.kernel.shape))
    assert "TfcConv2D" in names(pack(to_float_tflite(model), speedup=always))


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_depthwise_convolutions(multiplier, strides, dilation, monkeypatch):
    rng = np.random.default_rng(multiplier)
    layer = layers.DepthwiseConv2D(
        3, strides, padding="same", depth_multiplier=multiplier, dilation_rate=dilation, activation="relu6"
    )
    model = keras.Sequential([layers.Input((9, 11, 48)), layer])
    layer.kernel.assign(rng.integers(-7, 8, layer.kernel.shape) * rng.uniform(0.1, 0.2, (48, 1)))
    layer.bias.assign(rng.normal(size=layer.bias.shape))
    source = to_float_tflite(model)
    packed = pack(source, speedup=always)
    assert names(packed).count("TfcDepthwiseConv2D") == 1
    assert pack(expand(packed), speedup=always) == packed and audit(packed).passed
    x = rng.normal(size=(2, 9, 11, 48)).astype(np.float32)
    (expected,) = run(source, x)
    for arithmetic, tolerance in (("float", 1e-5), ("", 0.02)):
        monkeypatch.setenv("TFC_ACT", arithmetic)
        np.testing.assert_allclose(run_packed(packed, x), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_a_depthwise_convolution_alone_whose_bias_is_decoded():
    """Its bias is no constant any more once a TfcDecode computes it for several ops."""
    rng = np.random.default_rng(0)
    layer = layers.DepthwiseConv2D(3, padding="same")
    net = keras.Sequential([layers.Input((6, 6, 160)), layer])
    layer.kernel.assign(rng.integers(-7, 8, layer.kernel.shape) / 8)
    layer.bias.assign(rng.normal(size=160))
    alone = []

    def speedup(each):
        bias = each._subgraph.tensors[int(each._operator.inputs[2])]
        bias.buffer, before = 0, bias.buffer
        alone.append(each.alone())
        bias.buffer = before
        return 0.5

    pack(to_float_tflite(net), speedup=speedup)
    assert names(pack(alone[0], speedup=always)) == ["TfcDepthwiseConv2D"]  # and is undamaged


def test_a_multiplier_that_does_not_fit_is_refused():
    keras.utils.set_random_seed(3)
    layer = layers.DepthwiseConv2D(3)
    net = keras.Sequential([layers.Input((9, 9, 32)), layer])
    layer.kernel.assign(np.random.default_rng(0).integers(-7, 8, layer.kernel.shape) / 8)
    model = load(pack(to_float_tflite(net), speedup=always))
    (operator,) = [each for each in model.subgraphs[0].operators if each.customOptions is not None]
    operator.customOptions = np.array([*operator.customOptions[:7], 5], np.uint8)
    damaged = save(model)
    with pytest.raises(PayloadError, match="a multiplier that divides the channels"):
        audit(damaged)
    with pytest.raises(PayloadError, match="multiplier=5"):
        Interpreter(model_content=damaged)
