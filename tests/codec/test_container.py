import struct

import numpy as np
import pytest

from tfcompress.codec import Codes, crc32c, decode, encode, read
from tfcompress.errors import PayloadError


def sparse_codes(num_bits=4, shape=(6, 5, 3), codebook=None, sparsity=0.8):
    rng = np.random.default_rng(7)
    zero = 2 ** (num_bits - 1)
    symbols = np.where(rng.random(shape) < sparsity, zero, rng.integers(1, 2 * zero, shape)).astype(np.uint8)
    return Codes(symbols, num_bits, rng.uniform(0.1, 1, shape[0]).astype(np.float32), 0, codebook)


PALETTE = (np.arange(16) - 8).astype(np.float32)


@pytest.mark.parametrize("codebook", [None, PALETTE], ids=["uniform", "palette"])
@pytest.mark.parametrize("entropy_coded", [True, False])
def test_every_flipped_byte_is_refused(codebook, entropy_coded):
    payload = encode(sparse_codes(codebook=codebook), entropy_coded=entropy_coded)
    for at in range(len(payload)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(payload)
            damaged[at] ^= flip
            with pytest.raises(PayloadError):
                decode(bytes(damaged))


def test_every_truncation_and_extension_is_refused():
    payload = encode(sparse_codes())
    for size in range(len(payload)):
        with pytest.raises(PayloadError):
            decode(payload[:size])
    with pytest.raises(PayloadError, match="length"):
        decode(payload + b"\0\0\0\0")


def forged(payload, at, new):
    """The payload with other bytes at `at` and a CRC that fits them."""
    damaged = bytearray(payload)
    damaged[at : at + len(new)] = new
    damaged[4:8] = struct.pack("<I", crc32c(bytes(damaged[8:])))
    return bytes(damaged)


@pytest.mark.parametrize(
    ("at", "new", "rule"),
    [
        (8, b"\x02", "version"),
        (9, b"\x00", "encoding"),
        (9, b"\x07", "encoding"),
        (10, b"\x09", "num_bits"),
        (10, b"\x01", "num_bits"),
        (11, b"\x03", "coder"),
        (11, b"\x14", "zeros"),
        (11, b"\x80", "form"),
        (11, b"\x20", "without scale"),
        (13, b"\x00", "rank"),
        (13, b"\x09", "rank"),
        (14, b"\x00", "dimension"),
        (14, b"\x07", "codes_size|positive"),
        (17, b"\x05", "granularity"),
        (18, b"\x02", "block"),
        (19, b"\x01", "codebook_size"),
        (20, b"\x01", "bias_size"),
        (22, b"\x01", "codes_size"),
        (23, b"\x00\x00\x00\x00", "positive"),
        (23, b"\x00\x00\xc0\x7f", "finite"),
    ],
)
def test_a_field_that_contradicts_another_is_refused_though_the_crc_fits(at, new, rule):
    payload = encode(sparse_codes(sparsity=0.0), entropy_coded=False)
    assert payload[12] < 128  # one byte of length: the offsets above hold
    with pytest.raises(PayloadError, match=rule):
        decode(forged(payload, at, new))


def test_overlong_numbers_and_dirty_padding_are_refused():
    payload = encode(sparse_codes(shape=(6, 5)), entropy_coded=False)
    assert payload[14] == 6
    # 0x86 0x00 is 6 in two bytes; it swallows the next dimension, so only the form can be at fault.
    with pytest.raises(PayloadError, match="shortest"):
        decode(forged(payload, 14, b"\x86\x00"))
    padded = encode(Codes(np.zeros(1, np.uint8), 2, np.ones(1, np.float32), None, None), entropy_coded=False)
    assert padded[-1] == 0
    with pytest.raises(PayloadError, match="padding"):
        decode(forged(padded, len(padded) - 1, b"\x01"))


def test_a_palette_symbol_past_the_codebook_is_refused():
    codes = Codes(np.array([0, 1, 2], np.uint8), 2, np.ones(1, np.float32), None, np.arange(3, dtype=np.float32))
    payload = encode(codes, entropy_coded=False)
    at = payload.rindex(np.float32(2).tobytes()) + 4
    with pytest.raises(PayloadError, match="smaller than 3"):
        decode(forged(payload, at, bytes([0b111111])))


def test_entropy_coding_is_used_only_where_it_is_smaller():
    flat = Codes(np.random.default_rng(0).integers(0, 16, 64).astype(np.uint8), 4, np.ones(1, np.float32), None, None)
    assert read(encode(flat)).coder == "plain"
    assert read(encode(sparse_codes(shape=(40, 40)))).coder == "adaptive"
