"""Codes: one weight as small unsigned symbols, with what turns them into floats."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tfcompress.errors import PayloadError

__all__ = ["Codes"]

MAX_RANK = 8
MAX_CODES = 2**40


@dataclass(frozen=True, eq=False)
class Codes:
    """One weight as symbols.

    Uniform (`codebook` is None): `w = scale[c] * (symbol - 2^(num_bits-1))`;
    palette: `w = scale[c] * codebook[symbol]`; all in float32, c the index along `channel_axis`.

    Attributes:
        symbols: uint8, in the weight's shape (rank 1 to 8), each smaller than 2^num_bits and, for a
            palette, than the codebook's size.
        num_bits: Width of one code: uniform 2 to 8, palette 1 to 8.
        scale: float32, finite and positive; one, or one per index along `channel_axis`.
        channel_axis: Axis that has a scale per index; None where one scale serves all.
        codebook: float32, finite, strictly ascending, without -0.0; None for uniform codes.
    """

    symbols: np.ndarray
    num_bits: int
    scale: np.ndarray
    channel_axis: int | None
    codebook: np.ndarray | None

    def __post_init__(self) -> None:
        """Checks every field against every other.

        Raises:
            PayloadError: A field contradicts another.
        """
        if self.codebook is not None:
            self._check_codebook(self.codebook)
        self._check_symbols()
        self._check_scale()

    def _check_symbols(self) -> None:
        symbols = self.symbols
        if symbols.dtype != np.uint8:
            raise PayloadError("symbols must be uint8", f"dtype={symbols.dtype}", "Cast them first")
        if not 1 <= symbols.ndim <= MAX_RANK or not 1 <= math.prod(symbols.shape) < MAX_CODES:
            raise PayloadError(
                f"a compressed weight must have rank 1 to {MAX_RANK} and at least one entry", f"shape={symbols.shape}"
            )
        narrowest = 2 if self.codebook is None else 1
        if not narrowest <= self.num_bits <= 8:
            raise PayloadError(f"num_bits must be {narrowest} to 8", f"num_bits={self.num_bits}")
        limit = 2**self.num_bits if self.codebook is None else self.codebook.size
        largest = int(symbols.max())
        if largest >= limit:
            raise PayloadError(f"every symbol must be smaller than {limit}", f"symbol={largest}")

    def _check_scale(self) -> None:
        axis, shape, scale = self.channel_axis, self.symbols.shape, self.scale
        if axis is not None and not 0 <= axis < len(shape):
            raise PayloadError(f"channel_axis must be 0 to {len(shape) - 1}", f"channel_axis={axis}")
        count = 1 if axis is None else shape[axis]
        if scale.dtype != np.float32 or scale.shape != (count,):
            raise PayloadError(f"scale must be {count} float32 values", f"{scale.dtype} of shape {scale.shape}")
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise PayloadError("every scale must be finite and positive", f"smallest={scale.min()}")

    def _check_codebook(self, codebook: np.ndarray) -> None:
        limit = 2**self.num_bits
        if codebook.dtype != np.float32 or codebook.ndim != 1 or not 1 <= codebook.size <= limit:
            raise PayloadError(
                f"codebook must be 1 to {limit} float32 values", f"{codebook.dtype} of shape {codebook.shape}"
            )
        if not np.isfinite(codebook).all() or not (codebook[1:] > codebook[:-1]).all():
            raise PayloadError("codebook must be finite and strictly ascending", f"codebook={codebook.tolist()}")
        if np.signbit(codebook[codebook == 0]).any():
            raise PayloadError("codebook must hold no -0.0", f"codebook={codebook.tolist()}")

    @property
    def zero_symbol(self) -> int | None:
        """The symbol whose weight is 0; None for a palette without a zero."""
        if self.codebook is None:
            return 1 << (self.num_bits - 1)
        zeros = np.flatnonzero(self.codebook == 0)
        return int(zeros[0]) if zeros.size else None

    def levels(self) -> np.ndarray:
        """The weight of each symbol at scale 1: float32, 2^num_bits or codebook-size values."""
        if self.codebook is not None:
            return self.codebook
        half = 1 << (self.num_bits - 1)
        return np.arange(-half, half, dtype=np.float32)

    def weight(self) -> np.ndarray:
        """The weight: float32, in the symbols' shape."""
        scale = self.scale
        if self.channel_axis is not None:
            scale = scale.reshape([-1 if axis == self.channel_axis else 1 for axis in range(self.symbols.ndim)])
        weight: np.ndarray = scale * self.levels()[self.symbols]
        return weight
