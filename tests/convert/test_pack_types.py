"""Constants of every type, and ops that read them in other ways than a convolution."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import OpResolverType
from keras import layers

from tfcompress.convert import expand, inspect, pack, to_float_tflite
from tfcompress.convert.graph import custom_name, load, save
from tfcompress.runtime import Interpreter

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
REFERENCE = OpResolverType.BUILTIN_REF


def outputs(content, *inputs, resolver=OpResolverType.AUTO, signature=None):
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    if signature is not None:
        return interpreter.get_signature_runner(signature)(x=inputs[0])
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def on_grid(model, num_bits=4):
    """Rounds every kernel and table to a grid of its own per channel."""
    half = 2 ** (num_bits - 1) - 1
    for layer in model.layers:
        for variable in layer.trainable_variables:
            if len(variable.shape) > 1:
                axis = tuple(range(len(variable.shape) - 1)) if variable.name == "kernel" else (1,)
                weight = variable.numpy()
                scale = np.abs(weight).max(axis=axis, keepdims=True) / half
                variable.assign(scale * np.rint(weight / scale))
    return model


@pytest.fixture(scope="module")
def conv():
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [
            layers.Input((10, 10, 4)),
            layers.Conv2D(40, 3, activation="relu"),
            layers.DepthwiseConv2D(3),
            layers.Conv2D(16, 3, groups=2),
            layers.Flatten(),
            layers.Dense(12),
        ]
    )
    return on_grid(model)


def converted(model, **settings):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    for name, value in settings.items():
        setattr(converter, name, value)
    return converter.convert()


def samples():
    rng = np.random.default_rng(0)
    for _ in range(8):
        yield [rng.normal(size=(1, 10, 10, 4)).astype(np.float32)]


@pytest.fixture(scope="module")
def integer_file(conv):
    return converted(
        conv,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=samples,
        target_spec=tf.lite.TargetSpec(supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8]),
        inference_input_type=tf.int8,
        inference_output_type=tf.int8,
    )


@pytest.fixture(scope="module")
def dynamic_file(conv):
    return converted(conv, optimizations=[tf.lite.Optimize.DEFAULT])


@pytest.fixture(scope="module")
def half_file(conv):
    return converted(
        conv,
        optimizations=[tf.lite.Optimize.DEFAULT],
        target_spec=tf.lite.TargetSpec(supported_types=[tf.float16]),
    )


@pytest.mark.parametrize("resolver", [REFERENCE, OpResolverType.AUTO])
@pytest.mark.parametrize(
    ("name", "dtype"), [("integer_file", "int8"), ("dynamic_file", "int8"), ("half_file", "float16")]
)
def test_packed_models_of_other_types_give_the_same_bits(name, dtype, resolver, request):
    content = request.getfixturevalue(name)
    packed = pack(content)
    assert len(packed) < len(content)
    assert dtype in {row.type for row in inspect(packed) if row.coder is not None}
    kind = np.int8 if name == "integer_file" else np.float32
    x = np.random.default_rng(1).normal(0, 40 if kind is np.int8 else 1, size=(1, 10, 10, 4)).astype(kind)
    for mine, theirs in zip(outputs(packed, x, resolver=resolver), outputs(content, x, resolver=resolver), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    back = expand(packed)
    assert pack(back) == packed
    np.testing.assert_array_equal(outputs(back, x, resolver=REFERENCE)[0], outputs(content, x, resolver=REFERENCE)[0])


def test_few_levels_of_an_int8_file_cost_few_bits(conv):
    model = keras.models.clone_model(conv)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(np.sign(layer.kernel.numpy()) * 0.1)
    content = converted(model, optimizations=[tf.lite.Optimize.DEFAULT])
    packed = pack(content)
    stored = [row for row in inspect(packed) if row.coder is not None and row.type == "int8"]
    assert stored and all(row.bits_per_weight < 1.5 for row in stored if np.prod(row.shape) > 4000)


def test_int4_constants_are_packed_as_int4(integer_file):
    model = load(integer_file)
    subgraph = model.subgraphs[0]
    dense = next(
        operator
        for operator in subgraph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED
    )
    tensor = subgraph.tensors[int(dense.inputs[1])]
    rng = np.random.default_rng(2)
    values = np.clip(np.rint(rng.normal(0, 2, size=int(np.prod(tensor.shape)))), -8, 7).astype(np.int8)
    tensor.type = schema.TensorType.INT4
    nibbles = (values & 15).astype(np.uint8)
    model.buffers[tensor.buffer].data = nibbles[0::2] | nibbles[1::2] << 4
    content = save(model)
    packed = pack(content)
    (row,) = [row for row in inspect(packed) if row.type == "int4"]
    assert row.coder is not None and row.bits_per_weight < 4
    x = rng.normal(0, 40, size=(1, 10, 10, 4)).astype(np.int8)
    np.testing.assert_array_equal(outputs(packed, x)[0], outputs(content, x)[0])
    assert pack(expand(packed)) == packed


def test_embeddings_are_gathered_from_the_packed_table(monkeypatch):
    keras.utils.set_random_seed(5)
    model = on_grid(
        keras.Sequential(
            [
                layers.Input((6,), dtype="int32"),
                layers.Embedding(50, 12),
                layers.Flatten(),
                layers.Dense(32, activation="relu"),
                layers.Dense(8),
            ]
        )
    )
    content = to_float_tflite(model)
    packed = pack(content)
    loaded = load(packed)
    names = [custom_name(loaded, operator) for operator in loaded.subgraphs[0].operators]
    assert "TfcEmbedding" in names and "TfcFullyConnected" in names
    (row,) = [row for row in inspect(packed) if row.op == "TfcEmbedding"]
    assert row.shape == (50, 12) and row.encoding == "uniform" and row.bits == 4
    indices = np.random.default_rng(3).integers(0, 50, size=(1, 6)).astype(np.int32)
    monkeypatch.setenv("TFC_ACT", "float")
    np.testing.assert_allclose(outputs(packed, indices)[0], outputs(content, indices)[0], rtol=1e-5, atol=1e-5)
    assert pack(expand(packed)) == packed


def test_signatures_and_shared_buffers_survive(tmp_path):
    keras.utils.set_random_seed(6)
    model = on_grid(keras.Sequential([layers.Input((40,)), layers.Dense(64, activation="relu"), layers.Dense(20)]))
    first, _, last, _ = (tf.constant(value) for value in model.get_weights())
    module, spec = tf.Module(), tf.TensorSpec([1, 40], tf.float32)
    module.logits = tf.function(lambda x: {"y": tf.nn.relu(x @ first) @ last}, input_signature=[spec])
    module.likely = tf.function(lambda x: {"y": tf.nn.softmax(tf.nn.relu(x @ first) @ last)}, input_signature=[spec])
    tf.saved_model.save(module, tmp_path, signatures={"logits": module.logits, "likely": module.likely})
    content = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path), signature_keys=["logits", "likely"]).convert()
    packed = pack(content)
    assert len(load(packed).subgraphs) == 2
    assert len(packed) < len(content) / 4
    payloads_of = {buffer.data.tobytes() for buffer in load(packed).buffers if buffer.data is not None}
    assert sum(data[:4] == b"TFCW" for data in payloads_of) == 2
    x = np.random.default_rng(7).normal(size=(1, 40)).astype(np.float32)
    signatures = Interpreter(model_content=packed).get_signature_list()
    assert signatures == Interpreter(model_content=content).get_signature_list() and len(signatures) == 2
    for signature in signatures:
        mine, theirs = (outputs(each, x, signature=signature)["y"] for each in (packed, content))
        np.testing.assert_allclose(mine, theirs, atol=0.05 * np.abs(theirs).max())
    assert pack(packed) == packed
