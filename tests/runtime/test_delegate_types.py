"""TfcDecode to every type, in front of the stock ops that read it."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from delegate_files import NONE, SAME, FileBuilder

from tfcompress.codec import Codes, Floats, encode

OPS, OPTIONS, TYPES = schema.BuiltinOperator, schema.BuiltinOptions, schema.TensorType
REF, AUTO = "BUILTIN_REF", "AUTO"
CODED = {"float32": TYPES.FLOAT32, "float16": TYPES.FLOAT16, "int8": TYPES.INT8, "int4": TYPES.INT4}


def integers(shape, encoding: str, num_bits: int, dtype: str = "int8", seed: int = 0) -> Codes:
    """A weight of random integers."""
    random = np.random.default_rng(seed)
    codebook = None
    if encoding == "palette":
        low, high = (-8, 8) if dtype == "int4" else (-128, 128)
        codebook = np.sort(random.permutation(np.arange(low, high))[: 2**num_bits]).astype(np.float32)
    symbols = random.integers(0, 3 if encoding == "ternary" else 2**num_bits, shape).astype(np.uint8)
    return Codes(symbols, num_bits, None, None, codebook, encoding, dtype=dtype)


def packed(tensor: np.ndarray, dtype: str) -> np.ndarray:
    """The bytes of a constant: int4 tensors hold two weights a byte, the first in the low bits."""
    if dtype != "int4":
        return tensor
    nibbles = np.append(tensor.reshape(-1), np.zeros(tensor.size % 2, np.int8)).astype(np.uint8) & 15
    return nibbles[::2] | nibbles[1::2] << 4


def constant(file: FileBuilder, weight: Codes | Floats, *, decoded: bool) -> int:
    """A constant as it is, or as a payload and TfcDecode."""
    if decoded:
        index = file.tensor(weight.shape)
        file.custom("TfcDecode", [file.payload(encode(weight))], index, [1])
    else:
        index = file.tensor(weight.shape, packed(weight.tensor(), weight.dtype))
    file.graph.tensors[index].type = CODED[weight.dtype]
    return index


def layer(file: FileBuilder, op: str, inputs: list[int], y: int) -> None:
    """Adds a builtin op with its plainest options."""
    added = file.operator(getattr(OPS, op), inputs, [y])
    name = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "FULLY_CONNECTED": "FullyConnected"}[op]
    added.builtinOptionsType = getattr(OPTIONS, f"{name}Options")
    options = added.builtinOptions = getattr(schema, f"{name}OptionsT")()
    options.fusedActivationFunction = NONE
    if op != "FULLY_CONNECTED":
        options.padding, options.strideH, options.strideW = SAME, 1, 1
    if op == "DEPTHWISE_CONV_2D":
        options.depthMultiplier = 1


SHAPES = {
    "CONV_2D": ((10, 3, 3, 6), (2, 7, 5, 6), (2, 7, 5, 10), 0),
    "DEPTHWISE_CONV_2D": ((1, 3, 3, 6), (2, 7, 5, 6), (2, 7, 5, 6), 3),
    "FULLY_CONNECTED": ((10, 33), (4, 33), (4, 10), 0),
}


def int8_file(op: str, weight: Codes, *, decoded: bool) -> bytes:
    """x int8 -> op with int8 or int4 weights -> y int8, scales per channel."""
    shape, x_shape, y_shape, axis = SHAPES[op]
    random = np.random.default_rng(7)
    channels = shape[axis]
    scales = (random.uniform(0.1, 0.2, channels) / np.abs(weight.weight()).max()).astype(np.float32)
    file = FileBuilder()
    x = file.tensor(x_shape, dtype=np.int8)
    file.quantize(x, np.float32(0.02), 3)
    w = constant(file, weight, decoded=decoded)
    file.quantize(w, scales, 0, axis)
    bias = file.tensor([channels], random.integers(-999, 999, channels).astype(np.int32))
    file.quantize(bias, scales * np.float32(0.02))
    y = file.tensor(y_shape, dtype=np.int8)
    file.quantize(y, np.float32(0.03), -5)
    layer(file, op, [x, w, bias], y)
    file.graph.inputs, file.graph.outputs = [x], [y]
    return file.finish()


pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")


@pytest.fixture
def opened(open_file):
    """A function from a file to an interpreter that is ready to run."""

    def ready(content: bytes, resolver: str = "AUTO", *, ours: bool = True):
        interpreter = open_file(content, ours=ours, resolver=resolver)
        interpreter.allocate_tensors()
        return interpreter

    return ready


def run(interpreter, x: np.ndarray) -> np.ndarray:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("resolver", [REF, AUTO], ids=["ref", "xnnpack"])
@pytest.mark.parametrize(
    ("encoding", "num_bits"), [("uniform", 8), ("uniform", 4), ("palette", 4), ("ternary", 2), ("power_of_two", 4)]
)
@pytest.mark.parametrize("op", SHAPES)
def test_int8_ops_give_the_same_bits(opened, op, encoding, num_bits, resolver):
    weight = integers(SHAPES[op][0], encoding, num_bits)
    x = np.random.default_rng(1).integers(-128, 128, SHAPES[op][1]).astype(np.int8)
    result = run(opened(int8_file(op, weight, decoded=True), resolver), x)
    expected = run(opened(int8_file(op, weight, decoded=False), resolver, ours=False), x)
    assert np.unique(expected).size > 10
    assert result.tobytes() == expected.tobytes()


def test_the_decoded_tensor_keeps_its_scales(opened):
    weight = integers((10, 33), "uniform", 8)
    with_ours = opened(int8_file("FULLY_CONNECTED", weight, decoded=True), REF)
    stock = opened(int8_file("FULLY_CONNECTED", weight, decoded=False), REF, ours=False)
    ours, theirs = (
        next(t for t in it.get_tensor_details() if tuple(t["shape"]) == (10, 33)) for it in (with_ours, stock)
    )
    assert ours["dtype"] == theirs["dtype"] == np.int8
    for field in ("scales", "zero_points"):
        np.testing.assert_array_equal(ours["quantization_parameters"][field], theirs["quantization_parameters"][field])
    np.testing.assert_array_equal(with_ours.get_tensor(ours["index"]), weight.tensor())


@pytest.mark.parametrize("resolver", [REF, AUTO], ids=["ref", "xnnpack"])
@pytest.mark.parametrize("op", ["CONV_2D", "FULLY_CONNECTED"])
@pytest.mark.parametrize(("encoding", "num_bits"), [("uniform", 4), ("palette", 3), ("binary", 1)])
def test_int4_ops_give_the_same_bits(opened, op, encoding, num_bits, resolver):
    weight = integers(SHAPES[op][0], encoding, num_bits, "int4")
    x = np.random.default_rng(1).integers(-128, 128, SHAPES[op][1]).astype(np.int8)
    result = run(opened(int8_file(op, weight, decoded=True), resolver), x)
    expected = run(opened(int8_file(op, weight, decoded=False), resolver, ours=False), x)
    assert np.unique(expected).size > 10
    assert result.tobytes() == expected.tobytes()


def float_file(weight: Codes | Floats, *, decoded: bool) -> bytes:
    """x -> CONV_2D -> y; weights of half floats go through DEQUANTIZE, those of integers stay."""
    file = FileBuilder()
    x, y = file.tensor((1, 6, 6, 8)), file.tensor((1, 6, 6, 12))
    w = constant(file, weight, decoded=decoded)
    if weight.dtype == "float16":
        half, w = w, file.tensor(weight.shape)
        file.operator(OPS.DEQUANTIZE, [half], [w])
    layer(file, "CONV_2D", [x, w, file.tensor([12], np.linspace(-1, 1, 12, dtype=np.float32))], y)
    file.graph.inputs, file.graph.outputs = [x], [y]
    return file.finish()


def halves(shape) -> np.ndarray:
    """float32 values that are exact in float16, of every size that it has."""
    random = np.random.default_rng(5)
    values = random.normal(size=shape) * np.exp2(random.integers(-26, 4, shape))
    values[random.random(shape) < 0.3] = 0
    return values.astype(np.float16).astype(np.float32) + np.float32(0)


def float_weights() -> list[Codes | Floats]:
    shape, random = (12, 3, 3, 8), np.random.default_rng(6)
    symbols = random.integers(0, 16, shape).astype(np.uint8)
    return [
        Floats(random.normal(size=shape).astype(np.float32)),
        Floats(halves(shape), "float16"),
        Codes(symbols, 4, np.exp2(random.integers(-20, 0, 12)).astype(np.float32), 0, dtype="float16"),
        Codes(symbols, 4, random.uniform(0.1, 1, 12 * 9).astype(np.float32), 0, block=8),
        Codes(symbols % 3, 2, random.uniform(0.1, 1, 8).astype(np.float32), 3, encoding="ternary"),
    ]


@pytest.mark.parametrize("resolver", [REF, AUTO], ids=["ref", "xnnpack"])
@pytest.mark.parametrize("weight", float_weights(), ids=lambda w: f"{w.encoding}-{w.dtype}")
def test_float_ops_give_the_same_bits(opened, weight, resolver):
    x = np.random.default_rng(1).normal(size=(1, 6, 6, 8)).astype(np.float32)
    result = run(opened(float_file(weight, decoded=True), resolver), x)
    expected = run(opened(float_file(weight, decoded=False), resolver, ours=False), x)
    assert np.abs(expected).max() > 0
    assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (2, 3, 129)])
def test_half_floats_are_exact(opened, shape):
    file = FileBuilder()
    values = halves(shape)
    file.graph.outputs = [constant(file, Floats(values, "float16"), decoded=True)]
    result = opened(file.finish()).get_tensor(file.graph.outputs[0])
    assert result.dtype == np.float16
    assert result.tobytes() == values.astype(np.float16).tobytes()


@pytest.mark.parametrize("stored", CODED)
@pytest.mark.parametrize("declared", CODED)
def test_a_tensor_of_another_type_is_refused(opened, stored, declared):
    file = FileBuilder()
    file.graph.outputs = [constant(file, Codes(np.ones((3, 5), np.uint8), 4, None, dtype=stored), decoded=True)]
    file.graph.tensors[file.graph.outputs[0]].type = CODED[declared]
    if stored == declared:
        opened(file.finish())
        return
    message = rf"TfcDecode \(node 0\): the output must be {stored}. Received: type={declared}"
    with pytest.raises(RuntimeError, match=message):
        opened(file.finish())


def test_a_payload_with_a_bias_is_refused(opened):
    file = FileBuilder()
    payload = encode(Codes(np.ones((3, 5), np.uint8), 4, None), bias=np.ones(3, np.float32))
    file.custom("TfcDecode", [file.payload(payload)], file.tensor((3, 5)), [1])
    file.graph.outputs = [1]
    with pytest.raises(RuntimeError, match=r"TfcDecode \(node 0\): the payload must have no bias"):
        opened(file.finish())
