"""Our ops inside the body of a WHILE, as recurrent models have them."""

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema
from delegate_files import NONE, FileBuilder, random_codes

from tfcompress.codec import Codes, encode
from tfcompress.runtime import delegate_path

STEPS, WIDTH = 3, 6
OPS, OPTIONS = schema.BuiltinOperator, schema.BuiltinOptions


def _scalar(file: FileBuilder, value: int | None = None) -> int:
    return file.tensor([], None if value is None else np.array(value, np.int32), dtype=np.int32)


def loop_file(add_body) -> bytes:
    """`STEPS` times h = body(h, step); `add_body(file, step, state, new_state)` adds its ops."""
    file = FileBuilder()
    zero, state = _scalar(file, 0), file.tensor([2, WIDTH])
    last, result = _scalar(file), file.tensor([2, WIDTH])
    loop = file.operator(OPS.WHILE, [zero, state], [last, result])
    loop.builtinOptionsType, loop.builtinOptions = OPTIONS.WhileOptions, schema.WhileOptionsT()
    loop.builtinOptions.condSubgraphIndex, loop.builtinOptions.bodySubgraphIndex = 1, 2
    file.graph.inputs, file.graph.outputs = [state], [result]

    file.start_subgraph()
    count, _ = _scalar(file), file.tensor([2, WIDTH])
    more = file.tensor([], dtype=np.bool_)
    file.operator(OPS.LESS, [count, _scalar(file, STEPS)], [more])
    file.graph.inputs, file.graph.outputs = [count, 1], [more]

    file.start_subgraph()
    count, state = _scalar(file), file.tensor([2, WIDTH])
    following, new_state = _scalar(file), file.tensor([2, WIDTH])
    _add(file, count, _scalar(file, 1), following)
    add_body(file, count, state, new_state)
    file.graph.inputs, file.graph.outputs = [count, state], [following, new_state]
    return file.finish()


def _add(file: FileBuilder, a: int, b: int, y: int) -> None:
    op = file.operator(OPS.ADD, [a, b], [y])
    op.builtinOptionsType, op.builtinOptions = OPTIONS.AddOptions, schema.AddOptionsT()


def _builtin_dense(file: FileBuilder, state: int, weight: int, new_state: int) -> None:
    dense = file.operator(OPS.FULLY_CONNECTED, [state, weight, -1], [new_state])
    dense.builtinOptionsType, dense.builtinOptions = OPTIONS.FullyConnectedOptions, schema.FullyConnectedOptionsT()
    dense.builtinOptions.fusedActivationFunction = NONE


def run(content: bytes, x: np.ndarray, *, ours: bool = True) -> np.ndarray:
    delegates = [litert.load_delegate(str(delegate_path()))] if ours else None
    interpreter = litert.Interpreter(model_content=content, experimental_delegates=delegates, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    first = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy()
    interpreter.invoke()  # again from the start
    assert interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tobytes() == first.tobytes()
    return first


def states() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(2, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("bias", [None, np.linspace(-1, 1, WIDTH, dtype=np.float32)], ids=["plain", "inner_bias"])
def test_our_dense_op(monkeypatch, bias):
    monkeypatch.setenv("TFC_ACT", "float")
    codes = random_codes((WIDTH, WIDTH), seed=5)

    def body(file, _, state, new_state):
        file.custom("TfcFullyConnected", [state, file.payload(encode(codes, bias=bias))], new_state, [1, NONE, 0])

    expected = states()
    for _ in range(STEPS):
        expected = expected @ codes.weight().T + (0 if bias is None else bias)
    np.testing.assert_allclose(run(loop_file(body), states()), expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_decoded_weights(dtype):
    symbols = np.random.default_rng(5).integers(0, 16, (WIDTH, WIDTH)).astype(np.uint8)
    scale = None if dtype == "int8" else np.full(1, 0.125, np.float32)
    codes = Codes(symbols, 4, scale, dtype=dtype)

    def body(file, _, state, new_state, *, decoded):
        tensor = codes.tensor()
        weight = file.tensor(tensor.shape, None if decoded else tensor, dtype=tensor.dtype)
        if decoded:
            file.custom("TfcDecode", [file.payload(encode(codes))], weight, [1])
        if dtype == "int8":
            file.quantize(weight, np.float32(0.125))
        if dtype == "float16":
            half, weight = weight, file.tensor(tensor.shape)
            file.operator(OPS.DEQUANTIZE, [half], [weight])
        _builtin_dense(file, state, weight, new_state)

    packed, plain = (loop_file(lambda *args, d=decoded: body(*args, decoded=d)) for decoded in (True, False))
    result, expected = run(packed, states()), run(plain, states(), ours=False)
    assert np.abs(expected).max() > 0
    assert result.tobytes() == expected.tobytes()


def test_embedding_of_the_step():
    codes = random_codes((STEPS, 2, WIDTH), num_bits=3)

    def body(file, step, state, new_state):
        row = file.tensor([2, WIDTH])
        file.custom("TfcEmbedding", [step, file.payload(encode(codes))], row, [1])
        _add(file, state, row, new_state)

    expected = states()
    for row in codes.weight():
        expected = expected + row
    assert run(loop_file(body), states()).tobytes() == expected.tobytes()


def test_a_payload_that_two_ops_share(monkeypatch):
    monkeypatch.setenv("TFC_ACT", "float")
    codes = random_codes((WIDTH, WIDTH), seed=6)

    def body(file, step, state, new_state):
        payload, product = file.payload(encode(codes)), file.tensor([2, WIDTH])
        file.custom("TfcFullyConnected", [state, payload], product, [1, NONE, 0])
        row = file.tensor([WIDTH])
        file.custom("TfcEmbedding", [step, payload], row, [1])
        _add(file, product, row, new_state)

    expected = states()
    for step in range(STEPS):
        expected = expected @ codes.weight().T + codes.weight()[step]
    np.testing.assert_allclose(run(loop_file(body), states()), expected, atol=1e-6 * np.abs(expected).max())
