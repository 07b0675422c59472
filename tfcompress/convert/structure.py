"""Structure discovery: the codes that a float weight was made of.

A weight that was quantized or clustered is `scale[c] * small integer` or `scale[c] * codebook entry`,
up to float32 rounding, also after the converter folded a BatchNorm into it. The search needs no
knowledge of who trained it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from tfcompress.codec import Codes, Floats
from tfcompress.convert.levels import fit_powers_of_two, narrow, uniform_codes
from tfcompress.convert.palette import fit_palette, fit_scaled_palette

__all__ = ["TOLERANCE", "discover", "estimated_bytes", "matches", "narrowest_codes", "order0_entropy"]

TOLERANCE = 1e-6  # relative, per weight; folding BatchNorm costs up to 5e-7
MAX_CODE = 128
PROBE = 64  # values of a row that decide whether it is worth a full test
CHUNK = 1 << 20  # weights that are searched at once; bounds the memory
SETTLE = 4
BLOCKS = (256, 128, 64, 32, 16)


def discover(weight: np.ndarray, axes: Iterable[int] = (0,)) -> Codes | None:
    """Finds codes whose weights equal `weight` within a relative 1e-6; zeros stay exactly zero.

    Args:
        weight: float32, rank 1 to 8.
        axes: Axes that may own a scale per index; one scale for the whole weight is tried too, and
            where neither fits, scales per block of a row of the first axis.

    Returns:
        The codes with the fewest estimated bytes, or None when the weight has no such structure.
        Discovering `codes.weight()` again gives the same codes.
    """
    if not 1 <= weight.ndim <= 8 or weight.size == 0 or not np.isfinite(weight).all():
        return None
    axes = tuple(dict.fromkeys(axis % weight.ndim for axis in axes))
    codes = _best(weight, axes)
    for _ in range(SETTLE):
        if codes is None:
            return None
        again = _best(codes.weight(), axes)
        if again is None or _same(again, codes):
            break
        codes = again
    assert codes is not None
    return codes if matches(codes, weight) else None


def narrowest_codes(weight: np.ndarray, axes: Iterable[int]) -> Codes | None:
    """Of all codes that give a finite weight within the tolerance, those of the fewest bits."""
    if not np.isfinite(weight).all():
        return None
    axes = tuple(dict.fromkeys(axis % weight.ndim for axis in axes))
    found = [codes for codes in _candidates(weight, axes) if matches(codes, weight)]
    return min(found, key=lambda codes: codes.num_bits, default=None)


def matches(codes: Codes | Floats, weight: np.ndarray) -> bool:
    """Whether the codes give the weight within the tolerance."""
    given, wanted = codes.weight().reshape(-1), weight.reshape(-1)
    for start in range(0, wanted.size, CHUNK):
        part = slice(start, start + CHUNK)
        size = wanted[part].astype(np.float64)
        if not (np.abs(given[part] - size) <= TOLERANCE * np.abs(size)).all():
            return False
    return True


def _same(one: Codes, other: Codes) -> bool:
    fields = ("num_bits", "channel_axis", "encoding", "block", "dtype")
    arrays = ("symbols", "scale", "codebook")
    return all(getattr(one, name) == getattr(other, name) for name in fields) and all(
        _equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _best(weight: np.ndarray, axes: tuple[int, ...]) -> Codes | None:
    found = [codes for codes in _candidates(weight, axes) if matches(codes, weight)]
    return min(found, key=lambda codes: (estimated_bytes(codes), codes.num_bits), default=None)


def _candidates(weight: np.ndarray, axes: tuple[int, ...]) -> Iterator[Codes]:
    found = False
    for axis in (None, *axes):
        codes = _fit_uniform(weight, axis) or fit_powers_of_two(weight, axis)
        if codes is not None:
            found = True
            yield narrow(codes)
    palette = fit_palette(weight)
    if palette is not None:
        yield palette
    for axis in axes:
        # A codebook per channel would be needed where no channel has fewer values than all together.
        if found or (palette is not None and palette.codebook.size <= _most_values(weight, axis)):  # type: ignore[union-attr]
            continue
        codes = fit_scaled_palette(weight, axis)
        if codes is not None:
            found = True
            yield codes
    if not found and palette is None:
        yield from _fit_blocks(weight)


def _most_values(weight: np.ndarray, axis: int) -> int:
    """Most distinct values in one channel."""
    rows = np.sort(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1), axis=1)
    return int(np.count_nonzero(np.diff(rows, axis=1), axis=1).max(initial=0)) + 1


def _fit_blocks(weight: np.ndarray) -> Iterator[Codes]:
    """Uniform codes under a scale per block of a row; the largest block that fits."""
    row = math.prod(weight.shape[1:])
    for block in BLOCKS:
        if row % block or block >= row:
            continue
        blocks = weight.reshape(-1, block)
        if _fit_rows(blocks[:8]) is None:
            continue
        scale = _fit_rows(blocks)
        if scale is None:
            continue
        integers = np.rint(blocks / scale[:, None]).astype(np.int32).reshape(weight.shape)
        codes = uniform_codes(integers, scale, 0, block=block)
        if codes is not None:
            yield narrow(codes)
            return


def _fit_uniform(weight: np.ndarray, axis: int | None) -> Codes | None:
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1) if axis is not None else weight.reshape(1, -1)
    scale = _fit_rows(rows)
    if scale is None:
        return None
    broadcast = scale.reshape([-1 if a == axis else 1 for a in range(weight.ndim)])
    return uniform_codes(np.rint(weight / broadcast).astype(np.int32), scale, axis)


def _fit_rows(rows: np.ndarray) -> np.ndarray | None:
    """The scale of each row, searched some rows at a time."""
    scale = np.ones(rows.shape[0], np.float32)
    step = max(1, CHUNK // rows.shape[1])
    for start in range(0, rows.shape[0], step):
        fitted = _fit_scales(rows[start : start + step])
        if fitted is None:
            return None
        scale[start : start + step] = fitted
    return scale


def _fit_scales(rows: np.ndarray) -> np.ndarray | None:
    """For each row the largest scale that makes integers up to 128 of it; 1 for a row of zeros.

    The smallest non-zero magnitude of a row is some integer k times the scale: k = 1, 2, ... is tried.

    Returns:
        float32 scales, or None when a row has none.
    """
    magnitudes = np.abs(rows)
    smallest = np.where(magnitudes > 0, magnitudes, np.inf).min(axis=1).astype(np.float64)
    smallest[np.isinf(smallest)] = 1.0
    probe = magnitudes[:, :PROBE] / smallest[:, None]
    most = (MAX_CODE + 0.5) / np.maximum(magnitudes.max(axis=1) / smallest, 1.0)
    factor = np.zeros(rows.shape[0])
    open_rows = np.arange(rows.shape[0])
    for k in range(1, MAX_CODE + 1):
        if (most[open_rows] < k).any():
            return None
        likely = open_rows[_are_integers(k * probe[open_rows])]
        if likely.size:
            factor[likely[_are_integers(k * (magnitudes[likely] / smallest[likely, None]))]] = k
        open_rows = open_rows[factor[open_rows] == 0]
        if open_rows.size == 0:
            return _refine(magnitudes, np.rint(magnitudes / smallest[:, None] * factor[:, None]))
    return None


def _are_integers(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = (np.abs(values - np.rint(values)) <= TOLERANCE * values).all(axis=1)
    return result


def _refine(magnitudes: np.ndarray, codes: np.ndarray) -> np.ndarray | None:
    """Per row the float32 scale next to the mean ratio with the least error; the smallest of equals."""
    nonzero = codes > 0
    counts = nonzero.sum(axis=1)
    safe = np.where(nonzero, codes, 1.0)
    means = (magnitudes / safe).sum(axis=1) / np.maximum(counts, 1)
    middle = np.where(counts > 0, means, 1.0).astype(np.float32)
    if (middle < 2 * np.finfo(np.float32).tiny).any():
        return None
    reference = np.where(nonzero, magnitudes, 1.0)
    best, least = middle, np.full(middle.shape, np.inf)
    for offset in range(-4, 5):
        candidate = (middle.view(np.int32) + np.int32(offset)).view(np.float32)
        products = (candidate[:, None] * codes.astype(np.float32)).astype(np.float64)
        error = (np.abs(products - magnitudes) / reference).max(axis=1)
        best, least = np.where(error < least, candidate, best), np.minimum(error, least)
    result: np.ndarray = np.where(counts > 0, best, np.float32(1))
    return result


def order0_entropy(symbols: np.ndarray) -> float:
    """Order-0 entropy of the symbols, in bits per symbol."""
    counts = np.bincount(symbols.reshape(-1))
    frequencies = counts[counts > 0] / symbols.size
    return float(-(frequencies * np.log2(frequencies)).sum()) + 0.0


def estimated_bytes(codes: Codes) -> float:
    """About what the payload of the codes will take."""
    tables = 4 * sum(0 if table is None else table.size for table in (codes.scale, codes.codebook))
    return tables + codes.symbols.size * min(order0_entropy(codes.symbols), codes.num_bits) / 8
