"""The native library's decoder, and its coders of symbols, byte for byte those of `range_coder` and `rans`."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from tfcompress.codec.library import delegate_path, load_library
from tfcompress.errors import NativeLibraryError, PayloadError

__all__ = ["NativeCoders", "native_coders"]

_ADAPTIVE, _RANS, _STEADY = 1, 2, 3
_ZEROS = {"dense": 0, "blocks": 3, "n_of_m": 4}
_SPARE = 1024  # bytes of a section beside its codes: the table and the states of rANS
_LENGTH, _BYTES = ctypes.c_uint64, ctypes.c_void_p
_FORM = (ctypes.c_int, ctypes.c_int, ctypes.c_int, _LENGTH, ctypes.c_int, _LENGTH, _LENGTH)
_SIZE = ctypes.c_size_t
_ERROR = (ctypes.c_char_p, _SIZE)


class NativeCoders:
    """The decoder of payloads, and the functions of `range_coder` and `rans` with the same arguments and results.

    Args:
        library: The native library.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._encode, self._decode = library.tfc_encode_symbols, library.tfc_decode_symbols
        self._encode.argtypes = (ctypes.c_int, _BYTES, _LENGTH, *_FORM, _BYTES, _LENGTH, *_ERROR)
        self._encode.restype = ctypes.c_int64
        self._decode.argtypes = (ctypes.c_int, _BYTES, _LENGTH, _BYTES, _LENGTH, *_FORM, *_ERROR)
        self._decode.restype = ctypes.c_int
        self._decode_payload = library.tfc_decode
        self._decode_payload.argtypes = (_BYTES, _SIZE, _BYTES, _SIZE, *_ERROR)
        self._decode_payload.restype = ctypes.c_int

    def decode_payload(self, payload: bytes, count: int) -> np.ndarray:
        """Decodes a whole payload, its fields and scales too, with no help of the reference.

        Args:
            payload: Its bytes.
            count: Number of its weights.

        Returns:
            float32, shape [count]; integers without the scales of their tensor.

        Raises:
            PayloadError: The payload is damaged, or has another number of weights.
        """
        weight = np.empty(count, np.float32)
        error = ctypes.create_string_buffer(400)
        place = ctypes.cast(ctypes.c_char_p(payload), _BYTES)
        if self._decode_payload(place, len(payload), weight.ctypes.data, count, error, len(error)):
            raise PayloadError(*_parts(error))
        return weight

    def encode_adaptive(
        self,
        symbols: np.ndarray,
        num_bits: int,
        zero_symbol: int | None,
        row: int,
        zeros: str = "dense",
        a: int = 0,
        b: int = 0,
        *,
        steady: bool = False,
    ) -> bytes:
        """As `range_coder.encode_symbols`."""
        coder = _STEADY if steady else _ADAPTIVE
        return self._encoded(coder, symbols, num_bits, 1 << num_bits, zero_symbol, row, zeros, a, b)

    def decode_adaptive(
        self,
        data: bytes,
        count: int,
        num_bits: int,
        zero_symbol: int | None,
        row: int,
        zeros: str = "dense",
        a: int = 0,
        b: int = 0,
        *,
        steady: bool = False,
    ) -> np.ndarray:
        """As `range_coder.decode_symbols`."""
        coder = _STEADY if steady else _ADAPTIVE
        return self._decoded(coder, data, count, num_bits, 1 << num_bits, zero_symbol, row, zeros, a, b)

    def encode_rans(self, values: np.ndarray, alphabet: int) -> bytes:
        """As `rans.encode_symbols`."""
        return self._encoded(_RANS, values, 8, alphabet, None, 1, "dense", 0, 0)

    def decode_rans(self, section: bytes, count: int, alphabet: int) -> np.ndarray:
        """As `rans.decode_symbols`."""
        return self._decoded(_RANS, section, count, 8, alphabet, None, 1, "dense", 0, 0)

    def _encoded(self, coder: int, symbols: np.ndarray, num_bits: int, alphabet: int, *form: Any) -> bytes:
        symbols = np.ascontiguousarray(symbols, np.uint8)
        # A bit costs 16 at most, and a symbol has num_bits of them, one for zero and one for its block.
        room = np.empty(symbols.size * (num_bits + 2) * 2 + _SPARE, np.uint8)
        error = ctypes.create_string_buffer(400)
        size = self._encode(
            coder,
            symbols.ctypes.data,
            symbols.size,
            *_form(num_bits, alphabet, *form),
            room.ctypes.data,
            room.size,
            error,
            len(error),
        )
        if size < 0:
            raise PayloadError(*_parts(error))
        return room[:size].tobytes()

    def _decoded(self, coder: int, section: bytes, count: int, num_bits: int, alphabet: int, *form: Any) -> np.ndarray:
        symbols = np.empty(count, np.uint8)
        error = ctypes.create_string_buffer(400)
        failed = self._decode(
            coder,
            ctypes.cast(ctypes.c_char_p(section), _BYTES),
            len(section),
            symbols.ctypes.data,
            count,
            *_form(num_bits, alphabet, *form),
            error,
            len(error),
        )
        if failed:
            raise PayloadError(*_parts(error))
        return symbols


def _form(
    num_bits: int, alphabet: int, zero_symbol: int | None, row: int, zeros: str, a: int, b: int
) -> tuple[Any, ...]:
    return (num_bits, alphabet, -1 if zero_symbol is None else zero_symbol, row, _ZEROS[zeros], a, b)


def _parts(error: Any) -> tuple[str, str]:
    """Rule and received of the library's message."""
    rule, _, received = error.value.decode("utf-8", "replace").rstrip(".").partition(". Received: ")
    return rule, received


@functools.cache
def native_coders() -> NativeCoders | None:
    """The coders of the library that the delegate comes from; None where there is none of this version."""
    try:
        return NativeCoders(load_library(delegate_path()))
    except (NativeLibraryError, AttributeError):
        return None
