"""The native decoder against the Python one: the same weights from the same bytes."""

import ctypes
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from delegate_files import random_codes
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcompress.codec import Codes, Floats, crc32c, decode, encode
from tfcompress.codec.choice import Plan
from tfcompress.codec.codes import levels_of
from tfcompress.codec.container import encode_as
from tfcompress.codec.zeros import DENSE, GROUPS, Zeros
from tfcompress.errors import PayloadError
from tfcompress.runtime import delegate_path

GOLDEN = sorted((Path(__file__).parents[1] / "codec" / "golden").glob("*.npz"))


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


def golden_payloads() -> list[bytes]:
    """One payload of every encoding, coder and form of zeros."""
    files = [np.load(file) for file in GOLDEN]
    return [file[name].tobytes() for file in files for name in file.files if name not in ("tensor", "bias")]


@st.composite
def any_codes(draw) -> Codes:
    """Codes of any shape, encoding, width, scale, type and distribution."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    encoding = draw(st.sampled_from(["uniform", "palette", "ternary", "binary", "power_of_two"]))
    low, high = {"uniform": (2, 8), "palette": (1, 8), "ternary": (2, 2), "binary": (1, 1)}.get(encoding, (3, 6))
    num_bits = draw(st.integers(low, high))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    codebook = None
    if encoding == "palette":
        codebook = np.unique(random.normal(size=draw(st.integers(1, 2**num_bits))).astype(np.float32))
        if draw(st.booleans()):
            codebook[random.integers(codebook.size)] = 0
            codebook = np.unique(codebook) + np.float32(0)
    limit = levels_of(encoding, num_bits, codebook).size
    symbols = random.integers(0, limit, shape).astype(np.uint8)
    symbols[random.random(shape) < draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))] = random.integers(limit)
    if encoding != "palette" and (encoding, num_bits) != ("power_of_two", 6) and draw(st.booleans()):
        return Codes(
            symbols, num_bits, None, None, None, encoding, 0, "int8" if encoding != "power_of_two" else "float32"
        )
    axis = draw(st.none() | st.integers(0, len(shape) - 1))
    row = math.prod(shape[1:])
    blocks = [size for size in range(2, row) if row % size == 0] if axis == 0 else []
    block = draw(st.sampled_from([0, *blocks]))
    count = symbols.size // block if block else 1 if axis is None else shape[axis]
    scale = random.uniform(0.01, 3, count).astype(np.float32)
    return Codes(symbols, num_bits, scale, axis, codebook, encoding, block)


@st.composite
def any_floats(draw) -> Floats:
    """Floats of any number of mantissa bits, some of them zero."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kept = draw(st.integers(0, 23))
    bits = (random.normal(size=shape) * 2.0 ** random.integers(-6, 6, shape)).astype(np.float32).view(np.uint32)
    values = (bits >> (23 - kept) << (23 - kept)).view(np.float32)
    values[random.random(shape) < draw(st.sampled_from([0.0, 0.5, 0.95]))] = 0
    return Floats(values, "float16" if kept <= 7 and draw(st.booleans()) else "float32")


@st.composite
def any_payload(draw) -> tuple[Codes | Floats, bytes]:
    """A weight, written by any coder and form that can write it."""
    weight = draw(any_codes() | any_floats())
    coder = draw(st.sampled_from(["plain", "adaptive", "rans"]))
    row = math.prod(weight.shape[1:])
    flat = weight.weight().reshape(-1)
    forms = [DENSE]
    if isinstance(weight, Floats) or weight.zero_symbol is not None:
        forms += [Zeros("blocks", size) for size in range(2, row + 1) if row % size == 0]
        for size in (size for size in GROUPS if row % size == 0):
            most = int(np.count_nonzero(flat.reshape(-1, size), axis=1).max())
            forms += [Zeros("n_of_m", kept, size) for kept in range(max(most, 1), size)]
        if coder != "adaptive":
            forms += [Zeros("bitmap"), *(Zeros("run_length", bits) for bits in range(1, 9))]
    bias = None
    if weight.dtype == "float32" and draw(st.booleans()):
        bias = np.arange(weight.shape[0], dtype=np.float32)
    return weight, encode_as(weight, Plan(coder, draw(st.sampled_from(forms))), bias=bias)


@settings(max_examples=800, deadline=None)
@given(any_payload())
def test_same_weights(weight_and_payload):
    weight, payload = weight_and_payload
    expected = weight.weight()
    assert native_decode(payload, expected.size).tobytes() == expected.tobytes()


def assert_same_verdict(payload: bytes, count: int) -> bool:
    """The verdict of both readers of Python and of the native one; whether they accept."""
    try:
        expected = decode(payload, reference=True).weight()
    except PayloadError:
        with pytest.raises(ValueError, match="must"):
            native_decode(payload, count)
        with pytest.raises(PayloadError):
            decode(payload)
        return False
    assert native_decode(payload, expected.size).tobytes() == expected.tobytes()
    assert decode(payload).weight().tobytes() == expected.tobytes()
    return True


@settings(max_examples=500, deadline=None)
@given(any_payload(), st.data())
def test_same_verdict_on_resealed_damage(weight_and_payload, data):
    weight, whole = weight_and_payload
    payload = bytearray(whole)
    start = data.draw(st.sampled_from([8, 12, max(12, len(payload) - 12)]))
    for _ in range(data.draw(st.integers(1, 2))):
        payload[data.draw(st.integers(start, min(start + 20, len(payload)) - 1))] = data.draw(st.integers(0, 255))
    payload[4:8] = struct.pack("<I", crc32c(bytes(payload[8:])))
    assert_same_verdict(bytes(payload), math.prod(weight.shape))


def test_same_verdict_on_damage_to_every_form():
    random = np.random.default_rng(4)
    accepted = 0
    payloads = golden_payloads()
    for payload in payloads:
        for _ in range(8):
            damaged = bytearray(payload)
            for at in random.integers(12, len(payload), random.integers(1, 3)):
                damaged[at] ^= 1 << random.integers(8)
            damaged[4:8] = struct.pack("<I", crc32c(bytes(damaged[8:])))
            accepted += assert_same_verdict(bytes(damaged), 1)
    assert 100 < accepted < 8 * len(payloads) - 100


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_golden_payloads(file):
    arrays = np.load(file)
    for name in set(arrays.files) - {"tensor", "bias"}:
        tensor = arrays["tensor"]
        np.testing.assert_array_equal(native_decode(arrays[name].tobytes(), tensor.size), tensor.reshape(-1))


def test_long_section():
    codes = random_codes((64, 500), seed=3, num_bits=5)
    for coder in (1, 2):
        payload = encode_as(codes, Plan(["plain", "adaptive", "rans"][coder], DENSE))
        assert payload[11] & 3 == coder
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
