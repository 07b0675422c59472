"""The native decoder against the Python one: the same weights from the same bytes."""

import ctypes
import struct

import numpy as np
import pytest
from delegate_files import random_codes
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcompress.codec import Codes, crc32c, decode, encode
from tfcompress.errors import PayloadError
from tfcompress.runtime import delegate_path


def native_decode(payload: bytes, count: int) -> np.ndarray:
    """Weights by `tfc_decode`; raises ValueError with the library's message."""
    library = ctypes.CDLL(str(delegate_path()))
    out, error = np.empty(count, np.float32), ctypes.create_string_buffer(400)
    status = library.tfc_decode(
        payload,
        ctypes.c_size_t(len(payload)),
        out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_size_t(count),
        error,
        ctypes.c_size_t(len(error)),
    )
    if status:
        raise ValueError(error.value.decode())
    return out


@st.composite
def any_codes(draw) -> Codes:
    """Codes of any shape, width, axis and distribution."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    palette = draw(st.booleans())
    num_bits = draw(st.integers(1 if palette else 2, 8))
    axis = draw(st.none() | st.integers(0, len(shape) - 1))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    codebook = None
    if palette:
        size = draw(st.integers(1, 2**num_bits))
        codebook = np.unique(random.normal(size=size).astype(np.float32))
        if draw(st.booleans()):
            codebook[random.integers(codebook.size)] = 0
            codebook = np.unique(codebook) + np.float32(0)
    limit = 2**num_bits if codebook is None else codebook.size
    symbols = random.integers(0, limit, shape).astype(np.uint8)
    zeros = random.random(shape) < draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))
    symbols[zeros] = random.integers(limit)
    scale = random.uniform(0.01, 3, 1 if axis is None else shape[axis]).astype(np.float32)
    return Codes(symbols, num_bits, scale, axis, codebook)


@settings(max_examples=300, deadline=None)
@given(any_codes(), st.booleans())
def test_same_weights(codes, entropy_coded):
    payload = encode(codes, entropy_coded=entropy_coded)
    weights = native_decode(payload, codes.symbols.size)
    assert weights.tobytes() == codes.weight().tobytes()


@settings(max_examples=300, deadline=None)
@given(any_codes(), st.booleans(), st.data())
def test_same_verdict_on_resealed_damage(codes, entropy_coded, data):
    payload = bytearray(encode(codes, entropy_coded=entropy_coded))
    start = data.draw(st.sampled_from([8, 12, max(12, len(payload) - 12)]))
    for _ in range(data.draw(st.integers(1, 2))):
        payload[data.draw(st.integers(start, min(start + 20, len(payload)) - 1))] = data.draw(st.integers(0, 255))
    payload[4:8] = struct.pack("<I", crc32c(bytes(payload[8:])))
    try:
        expected = decode(bytes(payload))
    except PayloadError:
        expected = None
    count = codes.symbols.size if expected is None else expected.symbols.size
    try:
        weights = native_decode(bytes(payload), count)
    except ValueError as error:
        # The native reader also proves that an entropy-coded section has no byte too many.
        assert expected is None or "entropy-coded section must" in str(error)
    else:
        assert expected is not None
        assert weights.tobytes() == expected.weight().tobytes()


def test_long_section():
    codes = random_codes((64, 500), seed=3, num_bits=5)
    payload = encode(codes)
    assert payload[11] == 1  # entropy-coded
    assert native_decode(payload, 32000).tobytes() == codes.weight().tobytes()


def test_every_flipped_byte_is_refused():
    codes = random_codes((5, 7), palette=True)
    payload = bytearray(encode(codes))
    for at in range(len(payload)):
        payload[at] ^= 0x10
        with pytest.raises(ValueError, match="must"):
            native_decode(bytes(payload), 35)
        payload[at] ^= 0x10
    assert native_decode(bytes(payload), 35).tobytes() == codes.weight().tobytes()


def test_wrong_count_is_refused():
    with pytest.raises(ValueError, match="count=34, codes=35"):
        native_decode(encode(random_codes((5, 7))), 34)
