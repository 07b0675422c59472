import dataclasses
import importlib

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from grid_models import run
from keras import layers

from tfcompress.codec import read
from tfcompress.convert import expand, inspect, pack, to_float_tflite
from tfcompress.convert.custom_ops import payloads
from tfcompress.convert.graph import constant, custom_name, load, save
from tfcompress.convert.verify.inspect import constants
from tfcompress.errors import PayloadError


def ops(content):
    model = load(content)
    return [
        custom_name(model, operator) or model.operatorCodes[operator.opcodeIndex].builtinCode
        for operator in model.subgraphs[0].operators
    ]


def test_each_reader_gets_the_op_that_it_needs(cnn):
    found = ops(cnn.packed)
    assert found.count("TfcConv2D") == 3  # stem, pointwise half of the separable, and the one before TANH
    assert found.count("TfcFullyConnected") == 4  # the shared one twice
    builtin = schema.BuiltinOperator
    for op in (builtin.DEPTHWISE_CONV_2D, builtin.TRANSPOSE_CONV):
        assert found[found.index(op) - 1] == "TfcDecode"
    assert builtin.FULLY_CONNECTED not in found


def test_options_travel(cnn):
    model = load(cnn.packed)
    operators = [op for op in model.subgraphs[0].operators if custom_name(model, op) == "TfcConv2D"]
    assert list(operators[0].customOptions) == [1, 1, 0, 1, 1, 1, 1]  # ReLU, SAME
    assert list(operators[1].customOptions) == [1, 0, 1, 1, 1, 1, 1]  # none, VALID
    dense = [op for op in model.subgraphs[0].operators if custom_name(model, op) == "TfcFullyConnected"]
    assert list(dense[0].customOptions) == [1, 1, 0] and list(dense[-1].customOptions) == [1, 0, 0]
    # The shared layer has no bias: the zeros that the converter adds are dropped. The others' travel inside.
    assert [len(op.inputs) for op in dense] == [2, 2, 2, 2]
    held = [read(payload).bias for _, op, payload in payloads(model) if custom_name(model, op) == "TfcFullyConnected"]
    assert [bias is not None for bias in held] == [False, False, True, True]


def test_strides_dilations_and_activations_are_told_apart(cnn):
    model = load(cnn.float_file)
    stem = model.subgraphs[0].operators[0].builtinOptions
    stem.strideH, stem.strideW, stem.dilationHFactor, stem.dilationWFactor = 1, 2, 3, 4
    stem.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    packed = load(pack(save(model)))
    assert list(packed.subgraphs[0].operators[0].customOptions) == [1, 3, 0, 1, 2, 3, 4]
    stem.fusedActivationFunction = schema.ActivationFunctionType.TANH
    assert ops(pack(save(model)))[:2] == ["TfcDecode", schema.BuiltinOperator.CONV_2D]


def test_a_shared_constant_is_stored_once(cnn):
    model = load(cnn.packed)
    dense = [op for op in model.subgraphs[0].operators if custom_name(model, op) == "TfcFullyConnected"]
    assert dense[0].inputs[1] == dense[1].inputs[1]
    found = [payload for _, _, payload in payloads(model)]
    assert len(found) == len(set(found)) + 1


def test_weights_in_loop_bodies_are_packed(gru):
    model = load(gru.packed)
    bodies = [operator for subgraph in model.subgraphs[1:] for operator in subgraph.operators]
    names = [custom_name(model, operator) for operator in bodies]
    assert names.count("TfcDecode") + names.count("TfcFullyConnected") == 2
    assert len(gru.packed) < 0.5 * len(gru.float_file)


def test_packing_is_lossless_deterministic_and_stops_at_itself(cnn):
    assert pack(cnn.float_file) == cnn.packed
    assert pack(cnn.packed) == cnn.packed
    weights = {payload: read(payload).weight.weight() for _, _, payload in payloads(load(cnn.packed))}
    model = load(cnn.float_file)
    originals = [constant(model, tensor) for tensor in model.subgraphs[0].tensors if tensor.type == 0]
    for weight in weights.values():
        assert any(
            each is not None and each.shape == weight.shape and np.allclose(each, weight, rtol=1e-6, atol=0)
            for each in originals
        )


def test_the_file_costs_little_beside_its_constants(mlp, cnn):
    """At most 1.2 KB and 160 B per op, all names, shapes and tensors included."""
    for file in (mlp.packed, cnn.packed):
        constants = sum(row.bytes for row in inspect(file))
        assert len(file) - constants <= 1200 + 160 * len(ops(file))


def test_four_bits_and_zeros_are_near_their_entropy():
    rng = np.random.default_rng(0)
    dense = layers.Dense(200, use_bias=False)
    model = keras.Sequential([layers.Input((300,)), dense])
    codes = np.clip(np.rint(rng.normal(0, 2.2, (300, 200))), -7, 7) * (rng.random((300, 200)) > 0.7)
    dense.kernel.assign(codes * rng.uniform(0.01, 0.1, 200))
    float_file = to_float_tflite(model)
    packed = pack(float_file)
    (row,) = [row for row in inspect(packed) if row.encoding == "uniform"]
    assert row.bits == 4 and row.levels == 15
    assert row.bytes - 4 * 200 <= 1.02 * row.entropy * codes.size / 8 + 64
    assert len(packed) < len(float_file) / 15


def test_weights_without_structure_stay_exactly_what_they_are(mlp):
    model = keras.models.clone_model(mlp.model)
    float_file = to_float_tflite(model)
    packed = pack(float_file)
    assert len(packed) < 0.9 * len(float_file)
    assert {row.encoding for row in inspect(packed) if len(row.shape) == 2} == {"float"}
    assert ops(packed) == ["TfcDecode", schema.BuiltinOperator.FULLY_CONNECTED] * 2
    plain, back = ({row.shape: row for row in constants(load(each))} for each in (float_file, expand(packed)))
    for shape in ((64, 40), (30, 64)):
        np.testing.assert_array_equal(back[shape].weight(), plain[shape].weight())
    x = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
    np.testing.assert_array_equal(run(float_file, x)[0], run(expand(packed), x)[0])


@pytest.mark.parametrize("value", [np.nan, 1e-40])
def test_what_the_format_can_not_hold_is_left_alone(mlp, value):
    model = keras.models.clone_model(mlp.model)
    for layer in model.layers[-2:]:
        kernel = layer.kernel.numpy()
        kernel[3, 5] = value
        layer.kernel.assign(kernel)
    float_file = to_float_tflite(model)
    assert pack(float_file) == float_file


def test_a_constant_that_would_grow_is_left_alone():
    dense = layers.Dense(2)
    model = keras.Sequential([layers.Input((3,)), dense])
    dense.kernel.assign(np.ones((3, 2)))
    float_file = to_float_tflite(model)
    assert pack(float_file) == float_file


def test_a_weight_that_does_not_come_back_is_never_shipped(mlp, monkeypatch):
    module = importlib.import_module("tfcompress.convert.pack")

    def lossy(payload, **kwargs):
        held = read(payload, **kwargs)
        scale = held.weight.scale * np.float32(1.1)
        return dataclasses.replace(held, weight=dataclasses.replace(held.weight, scale=scale))

    monkeypatch.setattr(module, "read", lossy)
    with pytest.raises(PayloadError, match="must equal"):
        pack(mlp.float_file)


def test_saving_a_packed_file_again_is_stable(cnn):
    assert save(load(cnn.packed)) == cnn.packed
    x = np.random.default_rng(0).normal(size=(1, 12, 12, 3)).astype(np.float32)
    assert len(run(expand(cnn.packed), x)) == 2
