import json

import numpy as np
import pytest
from grid_models import promise_of

from tfcompress.codec import Codes, encode
from tfcompress.convert import audit, pack
from tfcompress.convert.audit import _shared_levels
from tfcompress.convert.graph import add_constant, load, save
from tfcompress.errors import PayloadError


@pytest.fixture(params=["cnn", "mlp", "gru"])
def converted(request):
    return request.getfixturevalue(request.param)


def test_every_layout_of_keras_is_recognised(converted):
    verdict = audit(converted.packed, converted.promises)
    assert verdict.passed and verdict.failures == ()
    assert [row.variable for row in verdict.rows] == [promise.variable for promise in converted.promises]
    assert all(row.kept and row.bits <= row.asked_bits for row in verdict.rows)
    assert [row.zeros for row in verdict.rows] == [promise.zeros for promise in converted.promises]
    json.dumps(verdict.to_json())


def broken(promises, **changes):
    return (promises[0].model_copy(update=changes), *promises[1:])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"num_bits": 2}, "codes of 3 bits, 2 asked"),
        ({"levels": 5}, "7 levels, 5 promised"),
        ({"num_centroids": 4}, "7 shared values, 4 asked"),
        ({"sparsity": 0.9}, "2304 promised"),
        ({"zeros": 2400}, "2400 promised"),
        ({"mask_hash": "0" * 32}, "promised pattern of zeros"),
        ({"shape": (64, 41)}, "no weight of shape"),
    ],
)
def test_a_broken_promise_is_told(mlp, changes, fault):
    verdict = audit(mlp.packed, broken(mlp.promises, **changes))
    assert not verdict.passed
    assert len(verdict.failures) == 1 and fault in verdict.failures[0]
    assert [row.kept for row in verdict.rows] == [False, True]


def test_a_float_file_does_not_keep_a_promise_of_bits(mlp):
    verdict = audit(mlp.float_file, mlp.promises)
    assert not verdict.passed and "codes of 32 bits" in verdict.failures[0]


def test_a_constant_too_small_to_pack_keeps_its_promise_as_float(mlp):
    model = load(mlp.float_file)
    weight = np.array([[0.5, 0, -0.5], [0, 0.25, 0.5]], np.float32)
    tensor = next(each for each in model.subgraphs[0].tensors if list(each.shape) == [30, 64])
    tensor.shape, tensor.buffer = np.array([2, 3], np.int32), add_constant(model, weight.tobytes())
    tiny = promise_of("tiny", "tiny/kernel", weight.T, (1,), num_bits=3)
    verdict = audit(pack(save(model)), [tiny])
    assert verdict.passed and verdict.rows[0].encoding == "float32" and verdict.rows[0].bits <= 3


def test_one_tensor_does_not_keep_two_promises(mlp):
    verdict = audit(mlp.packed, [mlp.promises[0], mlp.promises[0]])
    assert [row.kept for row in verdict.rows] == [True, False]


def test_without_promises_every_weight_is_listed(cnn):
    verdict = audit(cnn.packed)
    assert verdict.passed and len(verdict.rows) == len(cnn.promises)
    assert {row.kept for row in verdict.rows} == {None}


def test_a_flipped_bit_is_found(mlp):
    damaged = bytearray(mlp.packed)
    damaged[mlp.packed.rindex(b"TFCW") + 60] ^= 1
    with pytest.raises(PayloadError, match="CRC"):
        audit(bytes(damaged), mlp.promises)


def test_shared_levels_count_below_the_channels_signs():
    codebook = np.array([-2, -1, 0, 1, 2, 3], np.float32)
    symbols = np.array([[1, 2, 5, 5], [3, 2, 3, 2], [4, 2, 1, 5]], np.uint8)
    codes = Codes(symbols, 3, np.ones(3, np.float32), 0, codebook)
    # {-1, 0, 3}, {1, 0} which is {-1, 0} mirrored, and {2, 0, -1, 3}.
    assert encode(codes) and _shared_levels(codes) == 4
