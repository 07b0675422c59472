"""The payload: a self-describing container around the codes of one weight (FORMAT.md, section 1)."""

from __future__ import annotations

import math
import struct

import numpy as np

from tfcompress.codec.bitpack import pack_bits, packed_size, unpack_bits
from tfcompress.codec.codes import MAX_CODES, MAX_RANK, Codes
from tfcompress.codec.crc32c import crc32c
from tfcompress.codec.range_coder import decode_symbols, encode_symbols
from tfcompress.errors import PayloadError

__all__ = ["MAGIC", "decode", "encode"]

MAGIC = b"TFCW"
VERSION = 1
UNIFORM, PALETTE = 1, 2
ENTROPY_CODED = 1
REMEDY = "The file is damaged or not ours: fetch or pack it again"


def _uvarint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(codes: Codes, *, entropy_coded: bool = True) -> bytes:
    """Writes one payload; equal codes give equal bytes.

    Args:
        codes: The weight.
        entropy_coded: Allow entropy coding; it is used only where it makes the payload smaller.
    """
    symbols = codes.symbols.reshape(-1)
    plain = _payload(codes, pack_bits(symbols, codes.num_bits), 0)
    if not entropy_coded:
        return plain
    row = symbols.size // codes.symbols.shape[0]
    section = encode_symbols(symbols, codes.num_bits, codes.zero_symbol, row)
    coded = _payload(codes, section, ENTROPY_CODED)
    return coded if len(coded) < len(plain) else plain


def _payload(codes: Codes, section: bytes, flags: int) -> bytes:
    codebook = codes.codebook
    fixed = bytes([VERSION, UNIFORM if codebook is None else PALETTE, codes.num_bits, flags])
    numbers = [codes.symbols.ndim, *codes.symbols.shape]
    numbers += [0 if codes.channel_axis is None else codes.channel_axis + 1]
    numbers += [0 if codebook is None else codebook.size, len(section)]
    body = b"".join(_uvarint(number) for number in numbers) + codes.scale.astype("<f4").tobytes()
    if codebook is not None:
        body += codebook.astype("<f4").tobytes()
    body += section
    head = len(MAGIC) + 4 + len(fixed)
    # The length counts itself, so its own width is found by trying.
    for width in range(1, 11):
        length = -(-(head + width + len(body)) // 4) * 4
        if len(_uvarint(length)) == width:
            break
    checked = (fixed + _uvarint(length) + body).ljust(length - len(MAGIC) - 4, b"\0")
    return MAGIC + struct.pack("<I", crc32c(checked)) + checked


class _Reader:
    """A cursor over a payload that never reads past its end."""

    def __init__(self, payload: bytes) -> None:
        self.payload, self.at = payload, 0

    def take(self, size: int, field: str) -> bytes:
        """The next `size` bytes."""
        if size > len(self.payload) - self.at:
            raise PayloadError(
                f"a payload must hold all of its {field}",
                f"{len(self.payload)} bytes, {self.at + size} needed",
                REMEDY,
            )
        taken = self.payload[self.at : self.at + size]
        self.at += size
        return taken

    def uvarint(self, field: str, low: int, high: int) -> int:
        """The next unsigned LEB128 number, `low` to `high`."""
        number = 0
        for index in range(10):
            byte = self.take(1, field)[0]
            number |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                break
        else:
            raise PayloadError(f"{field} must take at most 10 bytes", "", REMEDY)
        if index and not byte:
            raise PayloadError(f"{field} must be in its shortest form", f"{index + 1} bytes", REMEDY)
        if not low <= number <= high:
            raise PayloadError(f"{field} must be {low} to {high}", f"{field}={number}", REMEDY)
        return number

    def floats(self, count: int, field: str) -> np.ndarray:
        """The next `count` float32 numbers."""
        return np.frombuffer(self.take(4 * count, field), "<f4").astype(np.float32)


def decode(payload: bytes) -> Codes:
    """Reads one payload.

    Raises:
        PayloadError: The bytes are truncated, damaged, of another version, or contradict themselves.
    """
    reader = _Reader(payload)
    encoding, num_bits, flags = _read_head(reader)
    rank = reader.uvarint("rank", 1, MAX_RANK)
    shape = tuple(reader.uvarint("dimension", 1, MAX_CODES - 1) for _ in range(rank))
    count = math.prod(shape)
    if count >= MAX_CODES:
        raise PayloadError(f"a weight must have fewer than {MAX_CODES} entries", f"shape={shape}", REMEDY)
    axis = reader.uvarint("channel_axis + 1", 0, rank) - 1
    smallest, largest = (0, 0) if encoding == UNIFORM else (1, 1 << num_bits)
    codebook_size = reader.uvarint("codebook_size", smallest, largest)
    codes_size = reader.uvarint("codes_size", 0, len(payload))
    if not flags and codes_size != packed_size(count, num_bits):
        raise PayloadError(
            f"{count} codes of {num_bits} bits must take {packed_size(count, num_bits)} bytes",
            f"codes_size={codes_size}",
            REMEDY,
        )
    scale = reader.floats(1 if axis < 0 else shape[axis], "scales")
    codebook = reader.floats(codebook_size, "codebook") if encoding == PALETTE else None
    section = reader.take(codes_size, "codes")
    padding = payload[reader.at :]
    if len(padding) > 3 or any(padding):
        raise PayloadError("padding must be 0 to 3 zero bytes", f"{len(padding)} bytes after the codes", REMEDY)
    channel_axis = None if axis < 0 else axis
    # Zero codes first: the scales and the codebook are proven before they steer the decoder.
    checked = Codes(np.zeros(1, np.uint8), num_bits, scale[:1], None, codebook)
    if flags:
        symbols = decode_symbols(section, count, num_bits, checked.zero_symbol, count // shape[0])
    else:
        symbols = unpack_bits(section, count, num_bits)
    return Codes(symbols.reshape(shape), num_bits, scale, channel_axis, codebook)


def _read_head(reader: _Reader) -> tuple[int, int, int]:
    """Checks magic, CRC, version and length; returns encoding, num_bits and flags."""
    payload = reader.payload
    if reader.take(4, "magic") != MAGIC:
        raise PayloadError("a payload must start with 'TFCW'", f"magic={payload[:4]!r}", REMEDY)
    (crc,) = struct.unpack("<I", reader.take(4, "CRC"))
    version, encoding, num_bits, flags = reader.take(4, "header")
    if version != VERSION:
        raise PayloadError(f"the payload's version must be {VERSION}", f"version={version}", "Use a newer tfcompress")
    length = reader.uvarint("length", 16, 2**63 - 1)
    if length != len(payload) or length % 4:
        raise PayloadError(
            "length must be the payload's size, a multiple of 4", f"length={length}, {len(payload)} bytes", REMEDY
        )
    actual = crc32c(payload[8:])
    if actual != crc:
        raise PayloadError("the payload's CRC must match its bytes", f"{actual:#010x} against {crc:#010x}", REMEDY)
    if encoding not in (UNIFORM, PALETTE):
        raise PayloadError("encoding must be 1 (uniform) or 2 (palette)", f"encoding={encoding}", REMEDY)
    narrowest = 2 if encoding == UNIFORM else 1
    if not narrowest <= num_bits <= 8:
        raise PayloadError(f"num_bits must be {narrowest} to 8", f"num_bits={num_bits}", REMEDY)
    if flags & ~ENTROPY_CODED:
        raise PayloadError("flags must be 0 or 1", f"flags={flags}", REMEDY)
    return encoding, num_bits, flags
