"""Levels: integer codes that are few, or powers of two, by the name that the format has for them."""

from __future__ import annotations

import numpy as np

from tfcompress.codec import Codes

__all__ = ["fit_powers_of_two", "narrow", "num_bits_of", "uniform_codes"]

NEAR = 5e-7  # relative


def uniform_codes(integers: np.ndarray, scale: np.ndarray | None, axis: int | None, **kwargs: object) -> Codes | None:
    """The narrowest encoding without a codebook that holds the integers; None beyond 8 bits.

    Args:
        integers: int32, in the weight's shape.
        scale: See `Codes`.
        axis: See `Codes.channel_axis`.
        **kwargs: Further fields of `Codes`.
    """
    low, high = int(integers.min()), int(integers.max())
    if -1 <= low and high <= 1:
        if (integers != 0).all():
            return Codes((integers > 0).astype(np.uint8), 1, scale, axis, encoding="binary", **kwargs)  # type: ignore[arg-type]
        return Codes((integers + 1).astype(np.uint8), 2, scale, axis, encoding="ternary", **kwargs)  # type: ignore[arg-type]
    num_bits = num_bits_of(low, high)
    if num_bits is None:
        return None
    half = 1 << (num_bits - 1)
    return Codes((integers + half).astype(np.uint8), num_bits, scale, axis, **kwargs)  # type: ignore[arg-type]


def num_bits_of(low: int, high: int) -> int | None:
    """Bits of a signed integer from `low` to `high`, 2 to 8, or None."""
    return next((bits for bits in range(2, 9) if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1)), None)


def narrow(codes: Codes) -> Codes:
    """Uniform codes that are all 0 or signed powers of two as such, where that takes fewer bits."""
    if codes.encoding != "uniform":
        return codes
    half = 1 << (codes.num_bits - 1)
    used = np.arange(-half, half)[np.bincount(codes.symbols.reshape(-1), minlength=2 * half) > 0]
    magnitudes = np.abs(used[used != 0])
    if magnitudes.size == 0 or (magnitudes & (magnitudes - 1)).any():
        return codes
    num_bits = _power_bits(int(magnitudes.max()).bit_length())
    if num_bits is None or num_bits >= codes.num_bits:
        return codes
    table = np.zeros(2 * half, np.uint8)
    digits = np.sign(used) * [int(abs(value)).bit_length() for value in used]
    table[used + half] = digits + (1 << (num_bits - 1))
    return Codes(
        table[codes.symbols],
        num_bits,
        codes.scale,
        codes.channel_axis,
        encoding="power_of_two",
        block=codes.block,
        dtype=codes.dtype,
    )


def _power_bits(exponents: int) -> int | None:
    """Bits of codes with the exponents 0 to `exponents` - 1 of both signs, 3 to 6; None for more."""
    return next((bits for bits in range(3, 7) if exponents < 1 << (bits - 1)), None)


def fit_powers_of_two(weight: np.ndarray, axis: int | None) -> Codes | None:
    """A scale for each channel under which every weight is 0 or a signed power of two.

    The smallest magnitude of a channel is its scale.

    Args:
        weight: float32.
        axis: The axis that owns a scale per index; None for one scale.
    """
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1) if axis is not None else weight.reshape(1, -1)
    mantissas = np.frexp(rows[:, :64])[0]
    first = np.abs(mantissas).max(axis=1, keepdims=True)
    if not ((mantissas == 0) | (np.abs(np.abs(mantissas) - first) <= 2 * NEAR)).all():
        return None
    magnitudes = np.abs(rows)
    smallest = np.where(magnitudes > 0, magnitudes, np.inf).min(axis=1)
    scale = np.where(np.isinf(smallest), 1, smallest).astype(np.float32)
    ratio = magnitudes.astype(np.float64) / scale[:, None]
    exponents = np.rint(np.log2(np.where(ratio > 0, ratio, 1.0)))
    if not (np.abs(np.exp2(exponents) - ratio) <= NEAR * ratio)[ratio > 0].all():
        return None
    num_bits = _power_bits(int(exponents.max()) + 1)
    if num_bits is None:
        return None
    digits = (np.sign(rows) * (exponents + 1)).astype(np.int32)
    moved = weight.shape if axis is None else (weight.shape[axis], *np.delete(weight.shape, axis))
    digits = digits.reshape(moved)
    digits = digits if axis is None else np.moveaxis(digits, 0, axis)
    symbols = np.ascontiguousarray(digits + (1 << (num_bits - 1))).astype(np.uint8)
    return Codes(symbols, num_bits, scale, axis, encoding="power_of_two")
