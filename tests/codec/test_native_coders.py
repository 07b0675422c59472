"""The native coders against the reference: the same bytes from the same symbols, and back."""

import numpy as np
import pytest

from tfcompress.codec import Codes, encode, read
from tfcompress.codec.coders import range_coder, rans
from tfcompress.codec.coders.native import native_coders
from tfcompress.errors import PayloadError

SIZES = (1, 2, 31, 32, 33, 63, 64, 65, 1000, 4095, 4096, 4097)


@pytest.fixture(scope="module")
def native():
    coders = native_coders()
    assert coders is not None, "the native library must be built for these tests: run tools/venv test,dev"
    return coders


def symbols_of(size, alphabet, zeros, zero, seed=0):
    random = np.random.default_rng(seed)
    symbols = np.clip(random.normal(alphabet / 2, alphabet / 6, size), 0, alphabet - 1).astype(np.uint8)
    symbols[random.random(size) < zeros] = zero
    return symbols


@pytest.mark.parametrize("zeros", [0.0, 0.7, 0.99, 1.0])
@pytest.mark.parametrize("alphabet", [1, 2, 3, 16, 200, 256])
def test_rans_has_the_same_bytes(native, alphabet, zeros):
    for size in SIZES:
        values = symbols_of(size, alphabet, zeros, alphabet // 2, size)
        section = rans.encode_symbols(values, alphabet)
        assert native.encode_rans(values, alphabet) == section
        assert np.array_equal(native.decode_rans(section, size, alphabet), values)
    assert native.encode_rans(np.empty(0, np.uint8), alphabet) == b""
    assert native.decode_rans(b"", 0, alphabet).size == 0


@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize("with_zero", [True, False])
@pytest.mark.parametrize("zeros", [0.0, 0.7, 0.99, 1.0])
@pytest.mark.parametrize("num_bits", [1, 2, 3, 4, 8])
def test_coding_of_bits_has_the_same_bytes(native, num_bits, zeros, with_zero, steady):
    zero = 1 << (num_bits - 1)
    for size in SIZES:
        symbols = symbols_of(size, 1 << num_bits, zeros, zero, size)
        form = (num_bits, zero if with_zero else None, max(size // 3, 1))
        section = range_coder.encode_symbols(symbols, *form, steady=steady)
        assert native.encode_adaptive(symbols, *form, steady=steady) == section
        assert np.array_equal(native.decode_adaptive(section, size, *form, steady=steady), symbols)


def test_a_long_memory_has_the_same_bytes_beyond_its_end(native):
    """More bits of a kind than the steady coder remembers, rare ones among them."""
    random = np.random.default_rng(9)
    symbols = np.where(random.random(40_000) < 0.002, random.integers(0, 4, 40_000), 2).astype(np.uint8)
    section = range_coder.encode_symbols(symbols, 2, 2, 200, steady=True)
    assert native.encode_adaptive(symbols, 2, 2, 200, steady=True) == section
    assert len(section) < len(range_coder.encode_symbols(symbols, 2, 2, 200))
    for decode in (native.decode_adaptive, range_coder.decode_symbols):
        assert np.array_equal(decode(section, symbols.size, 2, 2, 200, steady=True), symbols)


@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize(
    ("zeros", "a", "b"), [("blocks", 4, 0), ("blocks", 16, 0), ("n_of_m", 2, 4), ("n_of_m", 1, 32)]
)
def test_blocks_and_groups_have_the_same_bytes(native, zeros, a, b, steady):
    random = np.random.default_rng(a + b)
    unit = a if zeros == "blocks" else b
    symbols = random.integers(0, 16, (40, 64)).astype(np.uint8)
    groups = symbols.reshape(-1, unit)
    if zeros == "blocks":
        groups[random.random(len(groups)) < 0.8] = 8
    else:
        order = np.argsort(random.random(groups.shape), axis=1)
        np.put_along_axis(groups, order[:, : b - a], 8, axis=1)
    form = (4, 8, 64, zeros, a, b)
    section = range_coder.encode_symbols(symbols.reshape(-1), *form, steady=steady)
    assert native.encode_adaptive(symbols.reshape(-1), *form, steady=steady) == section
    assert np.array_equal(native.decode_adaptive(section, symbols.size, *form, steady=steady), symbols.reshape(-1))


def test_damage_gets_the_same_verdict(native):
    random = np.random.default_rng(5)
    symbols = symbols_of(600, 16, 0.5, 8)
    sections = {
        "adaptive": range_coder.encode_symbols(symbols, 4, 8, 60),
        "steady": range_coder.encode_symbols(symbols, 4, 8, 60, steady=True),
        "rans": rans.encode_symbols(symbols, 16),
    }
    decoders = {
        "adaptive": (
            lambda data: range_coder.decode_symbols(data, 600, 4, 8, 60),
            lambda data: native.decode_adaptive(data, 600, 4, 8, 60),
        ),
        "steady": (
            lambda data: range_coder.decode_symbols(data, 600, 4, 8, 60, steady=True),
            lambda data: native.decode_adaptive(data, 600, 4, 8, 60, steady=True),
        ),
        "rans": (lambda data: rans.decode_symbols(data, 600, 16), lambda data: native.decode_rans(data, 600, 16)),
    }
    refused = 0
    for coder, section in sections.items():
        for _ in range(400):
            damaged = bytearray(section)
            damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
            if random.random() < 0.3:
                del damaged[random.integers(len(damaged)) :]
            verdicts = []
            for decode in decoders[coder]:
                try:
                    verdicts.append(decode(bytes(damaged)).tobytes())
                except PayloadError:
                    verdicts.append(None)
            assert verdicts[0] == verdicts[1]
            refused += verdicts[0] is None
    assert refused > 100


def test_payloads_are_the_same_with_and_without_the_library(native, monkeypatch):
    codes = Codes(symbols_of(3000, 16, 0.6, 8).reshape(30, 100), 4, np.full(30, 0.5, np.float32), 0)
    payload = encode(codes)
    assert read(payload).coder in ("adaptive", "steady")
    monkeypatch.setattr("tfcompress.codec.container.native_coders", lambda: None)
    assert encode(codes) == payload
    for reference in (True, False):
        assert np.array_equal(read(payload, reference=reference).weight.symbols, codes.symbols)


def test_the_reference_never_asks_the_library(monkeypatch):
    codes = Codes(symbols_of(300, 16, 0.6, 8).reshape(30, 10), 4, np.full(30, 0.5, np.float32), 0)
    payload = encode(codes)

    def fail():
        raise AssertionError("the library was asked")

    monkeypatch.setattr("tfcompress.codec.container.native_coders", fail)
    assert np.array_equal(read(payload, reference=True).weight.symbols, codes.symbols)
