"""Where the time goes: ops of ours by name, and the stock ops between them."""

import dataclasses
import json

import numpy as np
import pytest
from delegate_files import NONE, conv_file, random_codes
from test_delegate_subgraphs import STEPS, WIDTH, loop_file

from tfcompress.codec import encode
from tfcompress.errors import InvalidInputError
from tfcompress.runtime import profile


def test_an_op_of_ours_is_timed_by_name(tmp_path):
    path = tmp_path / "conv.tflite"
    path.write_bytes(conv_file(random_codes((16, 3, 3, 8)), (12, 12, 8)))
    found = profile(path, rounds=3)
    conv, rest = found.ops
    assert conv.op.startswith("TfcConv2D (node ") and conv.kernel.startswith("conv2d_") and conv.calls == 1
    assert conv.shape.startswith("[1, ") and conv.shape.endswith(", 16]")
    assert 0 < conv.ms and conv.stock_ms >= 0
    assert dataclasses.astuple(rest)[:5] == ("(stock ops)", "", "", 1, 0.0) and rest.stock_ms > 0
    assert conv.ms + conv.stock_ms + rest.stock_ms == pytest.approx(found.total_ms, rel=0.9)
    assert json.loads(json.dumps(found.to_json()))["ops"][0]["kernel"] == conv.kernel


def test_a_model_without_ops_of_ours_is_one_row(float_path):
    found = profile(float_path, rounds=2)
    assert [each.op for each in found.ops] == ["(stock ops)"]


def test_ops_in_a_loop_count_their_calls(tmp_path):
    codes = random_codes((WIDTH, WIDTH))

    def body(file, _, state, new_state):
        file.custom("TfcFullyConnected", [state, file.payload(encode(codes))], new_state, [1, NONE, 0])

    path = tmp_path / "loop.tflite"
    path.write_bytes(loop_file(body))
    assert [(each.calls, each.shape) for each in profile(path, rounds=2).ops][0] == (STEPS, f"[2, {WIDTH}]")


def test_rounds_and_threads_must_be_positive(float_path):
    for options in ({"rounds": 0}, {"num_threads": 0}):
        with pytest.raises(InvalidInputError, match="at least one round and one thread"):
            profile(float_path, **options)


def test_inputs_are_those_of_the_benchmark(float_path):
    from tfcompress.runtime import Interpreter
    from tfcompress.runtime.benchmark import random_inputs

    interpreter = Interpreter(model_path=float_path)
    interpreter.allocate_tensors()
    one, two = (next(iter(random_inputs(interpreter, seed).values())) for seed in (0, 0))
    assert np.array_equal(one, two) and one.max() <= 1
