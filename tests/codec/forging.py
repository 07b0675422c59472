"""Takes a payload apart into the fields of FORMAT.md, and puts it together with others."""

from __future__ import annotations

import struct

from tfcompress.codec import crc32c

FIXED = ("version", "encoding", "num_bits", "form")
NUMBERS = ("granularity", "block", "codebook_size", "bias_size")
SECTIONS = ("scales", "codebook", "bias", "side", "codes", "raw")


def uvarint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def take_apart(payload: bytes) -> dict:
    """Every field of a good payload, in order: numbers as int, sections as bytes."""
    at = 12

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = payload[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def section(size: int) -> bytes:
        nonlocal at
        at += size
        return payload[at - size : at]

    fields: dict = dict(zip(FIXED, payload[8:12], strict=True))
    fields["length"] = number()
    fields["rank"] = number()
    fields["dims"] = [number() for _ in range(fields["rank"])]
    fields.update({name: number() for name in NUMBERS})
    if fields["form"] >> 2 & 7 >= 2:
        fields["zeros_a"], fields["zeros_b"] = number(), number()
    fields["side_size"], fields["codes_size"] = number(), number()
    count = 1
    for dim in fields["dims"]:
        count *= dim
    granularity = fields["granularity"]
    scales = min(granularity, 1) if granularity < 2 else fields["dims"][granularity - 2]
    fields["scales"] = section(4 * (count // fields["block"] if fields["block"] else scales))
    fields["codebook"] = section(4 * fields["codebook_size"])
    fields["bias"] = section(4 * fields["bias_size"])
    fields["side"] = section(fields["side_size"])
    fields["codes"] = section(fields["codes_size"])
    fields["raw"] = payload[at:] if fields["encoding"] == 6 else b""
    fields["padding"] = b"" if fields["encoding"] == 6 else payload[at:]
    return fields


def put_together(fields: dict) -> bytes:
    """The payload of these fields: a number may be given as its bytes; where `padding` is None, it and `length` fit.

    `more` is what follows the padding.
    """

    def number(name: str) -> bytes:
        value = fields[name]
        return value if isinstance(value, bytes) else uvarint(value)

    middle = b"".join([number("rank"), *map(uvarint, fields["dims"]), *map(number, NUMBERS)])
    middle += b"".join(number(name) for name in ("zeros_a", "zeros_b") if name in fields)
    middle += number("side_size") + number("codes_size")
    body = middle + b"".join(fields[name] for name in SECTIONS)
    fixed = bytes(fields[name] for name in FIXED)
    padding, length = fields["padding"], fields["length"]
    if padding is None:
        for width in range(1, 6):
            bare = 12 + width + len(body)
            padding = bytes(-bare % 4) + fields.get("more", b"")
            if len(uvarint(bare + len(padding))) == width:
                break
        length = bare + len(padding) if length is None else length
    checked = fixed + uvarint(length) + body + padding
    return b"TFCW" + struct.pack("<I", crc32c(checked)) + checked


def forge(payload: bytes, **changes) -> bytes:
    """The payload with other fields; `codes=` and `side=` set their sizes, too, and `dims=` the rank."""
    fields = {**take_apart(payload), "length": None, "padding": None}
    for section in ("side", "codes"):
        if section in changes:
            fields[f"{section}_size"] = len(changes[section])
    if "dims" in changes:
        fields["rank"] = len(changes["dims"])
    return put_together({**fields, **changes})


def with_checksum(payload: bytes) -> bytes:
    """The payload with a CRC that fits its bytes."""
    return payload[:4] + struct.pack("<I", crc32c(payload[8:])) + payload[8:]
