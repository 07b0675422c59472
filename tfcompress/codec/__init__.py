"""Weights to bytes and back; numpy only. FORMAT.md is the description of the bytes."""

from tfcompress.codec.codes import Codes
from tfcompress.codec.container import Payload, decode, encode, read
from tfcompress.codec.crc32c import crc32c
from tfcompress.codec.floats import Floats

__all__ = ["Codes", "Floats", "Payload", "crc32c", "decode", "encode", "read"]
