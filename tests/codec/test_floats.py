import numpy as np
import pytest

from tfcompress.codec import Floats
from tfcompress.codec.container import _raw
from tfcompress.errors import PayloadError


def floats(*values, **options):
    return Floats(np.array(values, np.float32), **options)


@pytest.mark.parametrize(
    ("values", "kept"),
    [([1.0, -4.0, 0.0], 0), ([1.5, 2.0], 1), ([1.0, 1.25], 2), ([0.1], 23), ([1 + 2.0**-23], 23), ([0.0], 0)],
)
def test_the_fewest_mantissa_bits_that_are_exact_are_kept(values, kept):
    weight = floats(*values)
    assert weight.mantissa_bits == kept
    assert weight.num_bits == 9 + kept
    np.testing.assert_array_equal(weight.weight(), np.array(values, np.float32))


def test_float16_values_keep_ten_bits_and_give_a_float16_tensor():
    values = np.random.default_rng(0).normal(size=100).astype(np.float16)
    weight = Floats(values.astype(np.float32), "float16")
    assert weight.mantissa_bits <= 10
    assert weight.tensor().dtype == np.float16
    np.testing.assert_array_equal(weight.tensor(), values)


def test_raw_holds_mantissa_then_sign_of_each_nonzero_value():
    # 1.5 has the upper mantissa bits 10, -1.25 has 01; three bits each, the sign above.
    assert _raw(floats(1.5, 0.0, -1.25)) == bytes([0b010 | 0b101 << 3])
    assert floats(1.5, 0.0, -1.25).exponents().tolist() == [127, 0, 127]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 1e-40, -1e-45])
def test_values_that_cannot_be_kept_are_refused(value):
    with pytest.raises(PayloadError, match="every value must be"):
        floats(1.0, value, 2.0)


@pytest.mark.parametrize(
    ("values", "dtype", "rule"),
    [
        (np.zeros(3), "float32", "must be float32"),
        (np.zeros((2, 0), np.float32), "float32", "at least one entry"),
        (np.zeros((1,) * 9, np.float32), "float32", "rank 1 to 8"),
        (np.zeros((), np.float32), "float32", "rank 1 to 8"),
        (np.ones(3, np.float32), "int8", "float32 or float16"),
        (np.full(3, 0.1, np.float32), "float16", "exact in float16"),
        (np.full(3, 1e6, np.float32), "float16", "exact in float16"),
    ],
)
def test_a_contradiction_is_refused(values, dtype, rule):
    with pytest.raises(PayloadError, match=rule):
        Floats(values, dtype)
