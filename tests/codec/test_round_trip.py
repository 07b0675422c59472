import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payload_samples import ENCODINGS, SHAPES, assert_same, plans, sample

from tfcompress.codec import Codes, decode, encode, read
from tfcompress.codec.container import encode_as


@pytest.mark.parametrize(("encoding", "num_bits"), ENCODINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_encoding_comes_back_through_every_coder_and_form(encoding, num_bits, shape):
    for sparsity in (0.0, 0.4, 1.0):
        weight = sample(encoding, num_bits, shape, sparsity=sparsity)
        for plan in plans(weight):
            payload = encode_as(weight, plan)
            assert len(payload) % 4 == 0
            back = read(payload, reference=True)
            assert (back.coder, back.zeros, back.size) == (plan.coder, plan.zeros.form, len(payload))
            assert_same(back.weight, weight)
        for options in ({}, {"smallest": True}, {"entropy_coded": False}):
            assert_same(decode(encode(weight, **options)), weight)


@pytest.mark.parametrize(("encoding", "num_bits"), ENCODINGS)
def test_scales_biases_and_types_come_back(encoding, num_bits):
    bias = np.array([1, -2.5, np.inf, np.nan, -0.0, 0], np.float32)
    for scale in ("none", "tensor", "channel", "block"):
        weight = sample(encoding, num_bits, scale=scale)
        back = read(encode(weight, bias=bias))
        assert_same(back.weight, weight)
        np.testing.assert_array_equal(back.bias.view(np.uint32), bias.view(np.uint32))
        assert read(encode(weight)).bias is None


@pytest.mark.parametrize("dtype", ["int8", "int4", "float16"])
def test_tensors_of_other_types_come_back_in_their_type(dtype):
    exact = {"int8": [("uniform", 8), ("uniform", 5), ("ternary", 2), ("binary", 1), ("power_of_two", 4)]}
    exact["int4"] = [("uniform", 4), ("uniform", 2), ("ternary", 2), ("power_of_two", 3)]
    exact["float16"] = [("uniform", 8), ("power_of_two", 5), ("binary", 1), ("float", 19), ("float", 9)]
    for encoding, num_bits in exact[dtype]:
        weight = sample(encoding, num_bits, scale="none", dtype=dtype)
        back = decode(encode(weight))
        assert_same(back, weight)
        tensor = back.tensor()
        assert tensor.dtype == ("int8" if dtype == "int4" else dtype)
        np.testing.assert_array_equal(tensor.astype(np.float32), weight.weight())


def test_equal_weights_give_equal_bytes_from_any_memory_layout():
    weight = sample("uniform", 4, (8, 32))
    turned = dataclasses.replace(weight, symbols=np.asfortranarray(weight.symbols))
    assert encode(turned) == encode(weight) == encode(decode(encode(weight)))
    floats = sample("float", 32, (8, 32))
    assert encode(dataclasses.replace(floats, values=np.asfortranarray(floats.values))) == encode(floats)


@st.composite
def any_codes(draw):
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=8).filter(lambda s: np.prod(s) <= 600)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    palette = draw(st.booleans())
    num_bits = draw(st.integers(1 if palette else 2, 8))
    codebook = None
    if palette:
        values = np.unique(rng.normal(size=draw(st.integers(1, 2**num_bits))).astype(np.float32))
        codebook = np.unique(np.where(rng.random(values.size) < 0.2, np.float32(0), values)) + np.float32(0)
    limit = 2**num_bits if codebook is None else codebook.size
    symbols = rng.integers(0, limit, shape).astype(np.uint8)
    axis = draw(st.none() | st.integers(0, len(shape) - 1))
    scale = rng.uniform(0.001, 2, 1 if axis is None else shape[axis]).astype(np.float32)
    return Codes(symbols, num_bits, scale, axis, codebook)


@given(any_codes(), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_codes_come_back(codes, entropy_coded, smallest):
    payload = encode(codes, entropy_coded=entropy_coded, smallest=smallest)
    assert len(payload) % 4 == 0
    back = decode(payload)
    assert_same(back, codes)
    assert payload == encode(back, entropy_coded=entropy_coded, smallest=smallest)


@pytest.mark.parametrize("size", range(40, 150))
def test_length_counts_itself_around_the_one_byte_limit(size):
    codes = Codes(np.arange(size, dtype=np.uint8), 8, np.ones(1, np.float32))
    payload = encode(codes, entropy_coded=False)
    assert payload[12] & 0x7F == len(payload) & 0x7F
    assert_same(decode(payload), codes)
