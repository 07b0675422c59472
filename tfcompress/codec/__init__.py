"""Weights to bytes and back; numpy only. FORMAT.md is the description of the bytes."""

from tfcompress.codec.codes import Codes
from tfcompress.codec.container import decode, encode
from tfcompress.codec.crc32c import crc32c

__all__ = ["Codes", "crc32c", "decode", "encode"]
