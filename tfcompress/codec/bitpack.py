"""Symbols packed least significant bit first, without gaps (FORMAT.md, section 2)."""

from __future__ import annotations

import numpy as np

from tfcompress.errors import PayloadError

__all__ = ["pack_bits", "packed_size", "unpack_bits"]


def packed_size(count: int, num_bits: int) -> int:
    """Bytes of `count` packed symbols: `ceil(count * num_bits / 8)`."""
    return (count * num_bits + 7) // 8


def pack_bits(symbols: np.ndarray, num_bits: int) -> bytes:
    """Packs symbols.

    Args:
        symbols: uint8, shape [n], each smaller than 2^num_bits.
        num_bits: 1 to 8.

    Returns:
        `packed_size(n, num_bits)` bytes; the unused high bits of the last one are 0.
    """
    bits = np.unpackbits(symbols[:, None], axis=1, count=num_bits, bitorder="little")
    return np.packbits(bits, bitorder="little").tobytes()


def unpack_bits(packed: bytes, count: int, num_bits: int) -> np.ndarray:
    """Unpacks what `pack_bits` packed.

    Returns:
        uint8, shape [count].

    Raises:
        PayloadError: The number of bytes is wrong, or an unused bit is set.
    """
    if len(packed) != packed_size(count, num_bits):
        raise PayloadError(
            f"{count} codes of {num_bits} bits must take {packed_size(count, num_bits)} bytes",
            f"codes_size={len(packed)}",
        )
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    if bits[count * num_bits :].any():
        raise PayloadError("the unused bits of the last byte must be 0", f"last byte={packed[-1]:#04x}")
    return np.packbits(bits[: count * num_bits].reshape(count, num_bits), axis=1, bitorder="little")[:, 0]
