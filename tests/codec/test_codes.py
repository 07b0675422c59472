import dataclasses

import numpy as np
import pytest

from tfcompress.codec import Codes
from tfcompress.errors import PayloadError


def uniform(**changes):
    fields = {
        "symbols": np.array([[0, 8, 15], [1, 2, 3]], np.uint8),
        "num_bits": 4,
        "scale": np.array([0.5, 2.0], np.float32),
        "channel_axis": 0,
        "codebook": None,
    }
    return Codes(**{**fields, **changes})


def test_uniform_weight_is_scale_times_signed_code():
    expected = np.array([[-4.0, 0.0, 3.5], [-14.0, -12.0, -10.0]], np.float32)
    np.testing.assert_array_equal(uniform().weight(), expected)
    assert uniform().zero_symbol == 8


def test_scale_follows_the_channel_axis():
    codes = uniform(scale=np.array([1, 10, 100], np.float32), channel_axis=1)
    np.testing.assert_array_equal(codes.weight(), [[-8, 0, 700], [-7, -60, -500]])


def test_palette_weight_looks_up_the_codebook():
    codebook = np.array([-1.5, 0.0, 0.25], np.float32)
    codes = Codes(np.array([2, 0, 1], np.uint8), 2, np.array([2], np.float32), None, codebook)
    np.testing.assert_array_equal(codes.weight(), np.array([0.5, -3.0, 0.0], np.float32))
    assert codes.zero_symbol == 1
    assert dataclasses.replace(codes, codebook=codebook + np.float32(1)).zero_symbol is None


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"symbols": np.zeros((2, 3), np.int32)}, "uint8"),
        ({"symbols": np.zeros((2, 0), np.uint8)}, "at least one entry"),
        ({"symbols": np.zeros((1,) * 9, np.uint8)}, "rank 1 to 8"),
        ({"symbols": np.full((2, 3), 16, np.uint8)}, "smaller than 16"),
        ({"num_bits": 1}, "num_bits must be 2 to 8"),
        ({"num_bits": 9}, "num_bits must be 2 to 8"),
        ({"channel_axis": 2}, "channel_axis must be 0 to 1"),
        ({"channel_axis": 1}, "3 float32"),
        ({"scale": np.ones(2)}, "2 float32"),
        ({"scale": np.array([1, 0], np.float32)}, "positive"),
        ({"scale": np.array([1, np.nan], np.float32)}, "finite"),
        ({"codebook": np.zeros((0,), np.float32)}, "1 to 16 float32"),
        ({"codebook": np.arange(17, dtype=np.float32)}, "1 to 16 float32"),
        ({"codebook": np.array([1, 1], np.float32), "symbols": np.zeros((2, 3), np.uint8)}, "ascending"),
        ({"codebook": np.array([-0.0, 1], np.float32), "symbols": np.zeros((2, 3), np.uint8)}, "-0.0"),
        ({"codebook": np.arange(4, dtype=np.float32)}, "smaller than 4"),
    ],
)
def test_a_contradiction_is_refused(changes, rule):
    with pytest.raises(PayloadError, match=rule):
        uniform(**changes)
