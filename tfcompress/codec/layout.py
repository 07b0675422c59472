"""The header of a payload and its checksum (FORMAT.md, section 1)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

from tfcompress.codec.codes import DTYPES, MAX_CODES, MAX_RANK, WIDTHS
from tfcompress.codec.crc32c import crc32c
from tfcompress.codec.zeros import NAMES, Zeros
from tfcompress.errors import PayloadError

__all__ = ["BIT_CODERS", "CODERS", "MAGIC", "REMEDY", "Header", "Reader", "assemble", "read_header", "uvarint"]

MAGIC = b"TFCW"
VERSION = 1
CODERS = ("plain", "adaptive", "rans", "steady")
BIT_CODERS = ("adaptive", "steady")  # they write no side section
BARE = ("dense", "bitmap")  # forms of zeros without zeros_a and zeros_b
ENCODINGS = (*WIDTHS, "float")  # their numbers start at 1
ALL_WIDTHS = {**WIDTHS, "float": (9, 32)}
REMEDY = "The file is damaged or not ours: fetch or pack it again"


@dataclass(frozen=True)
class Header:
    """Every field before the scales, but those that follow from the rest of the payload.

    `granularity` is 0 for no scale, 1 for one, 2 + a for one per index along axis a.
    """

    encoding: str
    num_bits: int
    shape: tuple[int, ...]
    dtype: str
    granularity: int
    block: int
    codebook_size: int
    bias_size: int
    coder: str
    zeros: Zeros
    side_size: int
    codes_size: int

    @property
    def count(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def row(self) -> int:
        """Number of weights per index of the first axis."""
        return math.prod(self.shape[1:])

    @property
    def channel_axis(self) -> int | None:
        """Axis that has a scale per index."""
        return self.granularity - 2 if self.granularity >= 2 else None

    @property
    def scale_count(self) -> int:
        """Number of scales."""
        if self.block:
            return self.count // self.block
        return self.granularity if self.channel_axis is None else self.shape[self.channel_axis]

    def __post_init__(self) -> None:
        """Checks every field against every other.

        Raises:
            PayloadError: A field contradicts another.
        """
        narrowest, widest = ALL_WIDTHS[self.encoding]
        _within("num_bits", self.num_bits, narrowest, widest)
        if self.count >= MAX_CODES:
            raise PayloadError(f"a weight must have fewer than {MAX_CODES} entries", f"shape={self.shape}", REMEDY)
        _within("granularity", self.granularity, 0, len(self.shape) + 1)
        if self.encoding == "float" and self.granularity:
            raise PayloadError("granularity must be 0 for floats", f"granularity={self.granularity}", REMEDY)
        if self.block and (self.granularity != 2 or not 2 <= self.block < self.row or self.row % self.block):
            raise PayloadError(
                f"block must be 0, or with granularity 2 a divisor of the row of {self.row}, 2 or more",
                f"block={self.block}, granularity={self.granularity}",
                REMEDY,
            )
        palette = self.encoding == "palette"
        _within("codebook_size", self.codebook_size, int(palette), palette << self.num_bits)
        if self.bias_size not in (0, self.shape[0]):
            raise PayloadError(f"bias_size must be 0 or {self.shape[0]}", f"bias_size={self.bias_size}", REMEDY)
        if self.dtype in ("int8", "int4") and (self.granularity or self.bias_size or self.encoding == "float"):
            raise PayloadError(
                f"an {self.dtype} payload must be of codes without scale and bias",
                f"encoding={self.encoding}, granularity={self.granularity}, bias_size={self.bias_size}",
                REMEDY,
            )

    def pack(self, length_width: int, length: int) -> bytes:
        """The bytes from the version on."""
        form = CODERS.index(self.coder) | NAMES.index(self.zeros.form) << 2 | DTYPES.index(self.dtype) << 5
        fixed = bytes([VERSION, ENCODINGS.index(self.encoding) + 1, self.num_bits, form])
        numbers = [len(self.shape), *self.shape, self.granularity, self.block, self.codebook_size, self.bias_size]
        if self.zeros.form not in BARE:
            numbers += [self.zeros.a, self.zeros.b]
        numbers += [self.side_size, self.codes_size]
        return b"".join([fixed, uvarint(length).ljust(length_width), *map(uvarint, numbers)])


def _within(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        rule = f"{field} must be {low}" if low == high else f"{field} must be {low} to {high}"
        raise PayloadError(rule, f"{field}={value}", REMEDY)


def uvarint(number: int) -> bytes:
    """`number` as unsigned LEB128, in its shortest form."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def assemble(header: Header, body: bytes) -> bytes:
    """The whole payload: magic, CRC, header, `body` (scales to raw) and padding."""
    # The length counts itself, so its own width is found by trying.
    for width in range(1, 10):
        length = -(-(8 + len(header.pack(width, 0)) + len(body)) // 4) * 4
        if len(uvarint(length)) == width:
            break
    checked = (header.pack(width, length) + body).ljust(length - 8, b"\0")
    return MAGIC + struct.pack("<I", crc32c(checked)) + checked


class Reader:
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
        for index in range(9):
            byte = self.take(1, field)[0]
            number |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                break
        else:
            raise PayloadError(f"{field} must take at most 9 bytes", "", REMEDY)
        if index and not byte:
            raise PayloadError(f"{field} must be in its shortest form", f"{index + 1} bytes", REMEDY)
        _within(field, number, low, high)
        return number

    def floats(self, count: int, field: str) -> np.ndarray:
        """The next `count` float32 numbers."""
        return np.frombuffer(self.take(4 * count, field), "<f4").astype(np.float32)

    def end(self) -> None:
        """Checks that only padding is left."""
        padding = self.payload[self.at :]
        if len(padding) > 3 or any(padding):
            raise PayloadError("padding must be 0 to 3 zero bytes", f"{len(padding)} bytes at the end", REMEDY)


def read_header(reader: Reader) -> Header:
    """Checks magic, version, length and CRC, then reads every field before the scales.

    Raises:
        PayloadError: The bytes are truncated, damaged, of another version, or contradict themselves.
    """
    payload = reader.payload
    if reader.take(4, "magic") != MAGIC:
        raise PayloadError("a payload must start with 'TFCW'", f"magic={payload[:4]!r}", REMEDY)
    (crc,) = struct.unpack("<I", reader.take(4, "CRC"))
    version, encoding, num_bits, form = reader.take(4, "header")
    if version != VERSION:
        raise PayloadError(
            f"the payload's version must be {VERSION}",
            f"version={version}",
            f"Use the release of tfcompress that wrote it, or any later one: this one reads version {VERSION}",
        )
    length = reader.uvarint("length", 0, 2**63 - 1)
    if length != len(payload) or length % 4:
        raise PayloadError(
            "length must be the payload's size, a multiple of 4", f"length={length}, {len(payload)} bytes", REMEDY
        )
    actual = crc32c(payload[8:])
    if actual != crc:
        raise PayloadError("the payload's CRC must match its bytes", f"{actual:#010x} against {crc:#010x}", REMEDY)
    _within("encoding", encoding, 1, len(ENCODINGS))
    _within("coder (form, bits 0 and 1)", form & 3, 0, len(CODERS) - 1)
    _within("zeros (form, bits 2 to 4)", form >> 2 & 7, 0, len(NAMES) - 1)
    _within("form", form, 0, 127)
    return _read_fields(reader, ENCODINGS[encoding - 1], num_bits, form)


def _read_fields(reader: Reader, encoding: str, num_bits: int, form: int) -> Header:
    size = len(reader.payload)
    rank = reader.uvarint("rank", 1, MAX_RANK)
    shape = tuple(reader.uvarint("dimension", 1, MAX_CODES - 1) for _ in range(rank))
    granularity = reader.uvarint("granularity", 0, rank + 1)
    block = reader.uvarint("block", 0, MAX_CODES)
    codebook_size = reader.uvarint("codebook_size", 0, 256)
    bias_size = reader.uvarint("bias_size", 0, MAX_CODES)
    zeros = Zeros(NAMES[form >> 2 & 7])
    if zeros.form not in BARE:
        zeros = Zeros(zeros.form, reader.uvarint("zeros_a", 1, MAX_CODES), reader.uvarint("zeros_b", 0, MAX_CODES))
    return Header(
        encoding=encoding,
        num_bits=num_bits,
        shape=shape,
        dtype=DTYPES[form >> 5],
        granularity=granularity,
        block=block,
        codebook_size=codebook_size,
        bias_size=bias_size,
        coder=CODERS[form & 3],
        zeros=zeros,
        side_size=reader.uvarint("side_size", 0, size),
        codes_size=reader.uvarint("codes_size", 0, size),
    )
