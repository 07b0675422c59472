"""Our ops inside the body of a WHILE, as recurrent models have them."""

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema
from delegate_files import NONE, FileBuilder, random_codes

from tfcompress.codec import encode
from tfcompress.runtime import delegate_path

STEPS, WIDTH = 3, 6
OPS, OPTIONS = schema.BuiltinOperator, schema.BuiltinOptions


def _scalar(file: FileBuilder, value: int | None = None) -> int:
    return file.tensor([], None if value is None else np.array(value, np.int32), dtype=np.int32)


def loop_file(codes, *, decoded: bool) -> bytes:
    """`STEPS` times h = h W', by our dense op or by the builtin one on a decoded weight."""
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
    add = file.operator(OPS.ADD, [count, _scalar(file, 1)], [following])
    add.builtinOptionsType, add.builtinOptions = OPTIONS.AddOptions, schema.AddOptionsT()
    payload = file.payload(encode(codes))
    if decoded:
        weight = file.tensor([WIDTH, WIDTH])
        file.custom("TfcDecode", [payload], weight, [1])
        dense = file.operator(OPS.FULLY_CONNECTED, [state, weight, -1], [new_state])
        dense.builtinOptionsType, dense.builtinOptions = OPTIONS.FullyConnectedOptions, schema.FullyConnectedOptionsT()
        dense.builtinOptions.fusedActivationFunction = NONE
    else:
        file.custom("TfcFullyConnected", [state, payload], new_state, [1, NONE, 0])
    file.graph.inputs, file.graph.outputs = [count, state], [following, new_state]
    return file.finish()


@pytest.mark.parametrize("decoded", [False, True])
def test_ops_in_a_while_body(monkeypatch, decoded):
    monkeypatch.setenv("TFC_ACT", "float")
    codes = random_codes((WIDTH, WIDTH), seed=5)
    delegates = [litert.load_delegate(str(delegate_path()))]
    content = loop_file(codes, decoded=decoded)
    interpreter = litert.Interpreter(model_content=content, experimental_delegates=delegates, num_threads=1)
    interpreter.allocate_tensors()
    for seed in range(3):
        x = expected = np.random.default_rng(seed).normal(size=(2, WIDTH)).astype(np.float32)
        for _ in range(STEPS):
            expected = expected @ codes.weight().T
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())
