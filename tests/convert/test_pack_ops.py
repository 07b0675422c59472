"""Whole models of every kind of op that Keras makes of a weight, under both resolvers of the runtime."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import OpResolverType
from grid_models import Converted
from keras import layers

from tfcompress.convert import expand, inspect, pack
from tfcompress.convert.graph import load, op_name
from tfcompress.runtime import Interpreter

RESOLVERS = [OpResolverType.BUILTIN_REF, OpResolverType.AUTO]


def outputs(content, x, resolver):
    interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():  # in an order of the converter's own
        (value,) = (each for each in x if each.ndim == len(detail["shape"]))
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def convolutions():
    """One-dimensional, grouped, dilated, strided, three-dimensional and transposed convolutions."""
    line = layers.Input((32, 8))
    y = layers.Conv1D(24, 3, padding="causal", dilation_rate=2, activation="relu")(line)
    y = layers.SeparableConv1D(20, 3)(y)
    y = layers.GlobalAveragePooling1D()(layers.Conv1DTranspose(16, 3, strides=2)(y))
    image = layers.Input((10, 10, 8))
    x = layers.Conv2D(24, 3, groups=4, activation="relu")(image)
    x = layers.Conv2D(16, 3, dilation_rate=2)(layers.BatchNormalization()(x))
    x = layers.Conv2DTranspose(8, 3, strides=2)(x)
    z = layers.Reshape((*x.shape[1:3], 4, 2))(x)
    z = layers.Conv3D(12, (2, 2, 2))(z)
    return keras.Model([line, image], [y, layers.GlobalAveragePooling3D()(z)], name="convolutions")


def sequences():
    """Attention, recurrence in a loop and both ways, and products over several axes."""
    tokens = layers.Input((6, 24), batch_size=1)
    x = layers.MultiHeadAttention(3, 8)(tokens, tokens)
    x = layers.EinsumDense("bse,ehd->bshd", output_shape=(None, 4, 6))(layers.LayerNormalization()(x))
    x = layers.TimeDistributed(layers.Dense(20, activation="relu"))(layers.Reshape((6, 24))(x))
    y = layers.Bidirectional(layers.LSTM(12))(x)
    return keras.Model(tokens, [y, layers.GRU(16)(x)], name="sequences")


@pytest.fixture(scope="module", params=[convolutions, sequences], ids=lambda make: make.__name__)
def converted(request):
    keras.utils.set_random_seed(7)
    return Converted.of(request.param())


def inputs_of(model):
    rng = np.random.default_rng(3)
    return [rng.normal(size=(1, *source.shape[1:])).astype(np.float32) for source in model.inputs]


def test_every_weight_is_packed(converted):
    """But those that are too small for it to pay."""
    rows = [row for row in inspect(converted.packed) if row.type == "float32"]
    assert all(row.coder is not None for row in rows if np.prod(row.shape) > 200)
    assert len(converted.packed) < 0.55 * len(converted.float_file)
    assert sum(row.coder is not None for row in rows) >= 8


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_outputs_equal_those_of_the_float_file(converted, resolver, monkeypatch):
    monkeypatch.setenv("TFC_ACT", "float")
    x = inputs_of(converted.model)
    for mine, theirs in zip(
        outputs(converted.packed, x, resolver), outputs(converted.float_file, x, resolver), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


def test_packing_stops_at_itself(converted):
    assert pack(converted.packed) == converted.packed
    assert pack(expand(converted.packed)) == converted.packed


def test_kernels_take_what_they_can(converted):
    model = load(converted.packed)
    names = [op_name(model, operator) for operator in model.subgraphs[0].operators]
    bodies = [op_name(model, operator) for subgraph in model.subgraphs[1:] for operator in subgraph.operators]
    if converted.model.name == "convolutions":
        assert names.count("TfcConv2D") >= 3
        before = {names[place + 1] for place, name in enumerate(names) if name == "TfcDecode"}
        assert {"TRANSPOSE_CONV", "DEPTHWISE_CONV_2D", "CONV_2D"} <= before  # the last is the grouped one
    else:
        assert names.count("TfcFullyConnected") >= 3
        assert bodies.count("TfcFullyConnected") >= 2
