"""Floats: one weight without structure, kept as float32 or float16, with fewer bits of mantissa where exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfcompress.codec.codes import MAX_CODES, MAX_RANK
from tfcompress.errors import PayloadError

__all__ = ["Floats"]

MANTISSA = 23


@dataclass(frozen=True, eq=False)
class Floats:
    """One weight as float32 numbers.

    Attributes:
        values: float32, in the weight's shape (rank 1 to 8); neither NaN, infinite, denormal nor -0.0.
        dtype: Type of the tensor: "float32", or "float16" where every value is exact in it.
    """

    values: np.ndarray
    dtype: str = "float32"

    encoding = "float"

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            PayloadError: A value cannot be kept exactly.
        """
        values = self.values
        if values.dtype != np.float32:
            raise PayloadError("values must be float32", f"dtype={values.dtype}", "Cast them first")
        if not 1 <= values.ndim <= MAX_RANK or not 1 <= math.prod(values.shape) < MAX_CODES:
            raise PayloadError(
                f"a compressed weight must have rank 1 to {MAX_RANK} and at least one entry", f"shape={values.shape}"
            )
        exponents = self.exponents()
        if not exponents.all() and self._bits()[exponents == 0].any():
            raise PayloadError("every value must be +0.0 or normal", "a denormal or -0.0")
        if exponents.max() == 255:
            raise PayloadError("every value must be finite", "NaN or infinity")
        if self.dtype not in ("float32", "float16"):
            raise PayloadError("dtype must be float32 or float16", f"dtype={self.dtype!r}")
        if self.dtype == "float16":
            with np.errstate(over="ignore"):
                exact = (values == values.astype(np.float16)).all()
            if not exact:
                raise PayloadError("every value must be exact in float16", f"largest={np.abs(values).max()}")

    def _bits(self) -> np.ndarray:
        return np.ascontiguousarray(self.values).view(np.uint32)

    def exponents(self) -> np.ndarray:
        """The symbols of the payload: uint8, the exponent byte of each value, 0 for 0."""
        return (self._bits() >> MANTISSA).astype(np.uint8)

    @cached_property
    def mantissa_bits(self) -> int:
        """The fewest upper bits of the mantissas that keep every value exactly: 0 to 23."""
        used = int(np.bitwise_or.reduce(self._bits(), axis=None)) & ((1 << MANTISSA) - 1)
        return MANTISSA - ((used & -used).bit_length() - 1) if used else 0

    @property
    def num_bits(self) -> int:
        """Width of one weight before entropy coding: sign, exponent and the kept mantissa."""
        return 9 + self.mantissa_bits

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape."""
        return self.values.shape

    def weight(self) -> np.ndarray:
        """The weight: float32."""
        return self.values

    def tensor(self) -> np.ndarray:
        """The tensor of the .tflite file: float32 or float16."""
        return self.values.astype(self.dtype)
