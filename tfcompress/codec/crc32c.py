"""CRC-32C (Castagnoli), the checksum of a payload, in numpy.

Long data are cut into equal lanes that numpy walks side by side, one byte per step; two neighbouring
lanes are then joined by `crc(a + b) = advance(crc(a), len(b)) ^ crc(b)`, where `advance` over
zero bytes is linear in the bits of the CRC.
"""

from __future__ import annotations

import numpy as np

__all__ = ["crc32c"]

POLYNOMIAL = 0x82F63B78  # reflected


def _byte_table() -> np.ndarray:
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ (POLYNOMIAL * (table & 1)).astype(np.uint32)
    return table


TABLE = _byte_table()
BYTES = TABLE.tolist()
SHORT = 16384  # bytes; up to here one byte after the other is faster than lanes and their joining


def _short(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = BYTES[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _apply(operator: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Multiplies 32x32 bit matrices: `operator[i]` is the image of bit i."""
    result = np.zeros_like(values)
    for bit in range(32):
        result ^= operator[bit] * ((values >> np.uint32(bit)) & np.uint32(1))
    return result


def _advance(num_bytes: int) -> np.ndarray:
    """The operator that carries a CRC over `num_bytes` zero bytes, by repeated squaring."""
    identity = np.uint32(1) << np.arange(32, dtype=np.uint32)
    power = TABLE[identity & 0xFF] ^ (identity >> 8)
    result = identity
    while num_bytes:
        if num_bytes & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        num_bytes >>= 1
    return result


def crc32c(data: bytes) -> int:
    """The CRC-32C of `data`: reflected, initial value and final xor 0xFFFFFFFF.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    if len(data) <= SHORT:
        return _short(data)
    values = np.frombuffer(data, np.uint8)
    lanes = 1
    while lanes < 4096 and lanes * lanes * 16 < values.size:
        lanes *= 2
    steps = -(-values.size // lanes)
    # Zero bytes in front change nothing while the CRC is 0, so the initial value is added at the end.
    columns = np.zeros(steps * lanes, np.uint8)
    columns[columns.size - values.size :] = values
    columns = np.ascontiguousarray(columns.reshape(lanes, steps).T)
    crc = np.zeros(lanes, np.uint32)
    for column in columns:
        crc = TABLE[(crc ^ column) & 0xFF] ^ (crc >> 8)
    operator = _advance(steps)
    while crc.size > 1:
        crc = _apply(operator, crc[0::2]) ^ crc[1::2]
        operator = _apply(operator, operator)
    initial = _apply(_advance(values.size), np.array([0xFFFFFFFF], np.uint32))
    return int(crc[0] ^ initial[0] ^ np.uint32(0xFFFFFFFF))
