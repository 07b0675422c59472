"""Palettes: a weight whose entries share a small set of values, also under a scale per channel or block."""

from __future__ import annotations

import numpy as np

from tfcompress.codec import Codes
from tfcompress.convert.scales import refine_scales

__all__ = ["fit_block_palette", "fit_palette", "fit_scaled_palette"]

MAX_ENTRIES = 256
PROBE = 16  # values, and then scales, that are tried before all are
SAMPLE = 4096  # weights that show at once that there are more entries
NEAR = 5e-7  # relative; two roundings on either side stay well below it
CHUNK = 1 << 18  # weights at once; bounds the memory


def _num_bits(entries: int) -> int:
    return max(1, (entries - 1).bit_length())


def fit_palette(weight: np.ndarray) -> Codes | None:
    """The weight's distinct values as a codebook of at most 256 entries, exactly."""
    flat = weight.reshape(-1)
    values = np.unique(flat[:: max(1, flat.size // SAMPLE)])
    for start in range(0, flat.size, CHUNK):
        if values.size > MAX_ENTRIES:
            return None
        values = np.union1d(values, np.unique(flat[start : start + CHUNK]))
    if values.size > MAX_ENTRIES:
        return None
    codebook = values.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
    return Codes(_indices(flat, values).reshape(weight.shape), _num_bits(values.size), None, None, codebook)


def _indices(flat: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """The index of the first entry that is not smaller, for each weight."""
    symbols = np.empty(flat.shape, np.uint8)
    for start in range(0, flat.size, CHUNK):
        symbols[start : start + CHUNK] = np.searchsorted(entries, flat[start : start + CHUNK])
    return symbols


def fit_block_palette(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """A codebook that all blocks share, each under its largest magnitude, as quantizers by absolute maximum do.

    Args:
        blocks: float32, shape [blocks, block], finite.

    Returns:
        float32 scales, uint8 symbols and the codebook; None for more than 256 entries.
    """
    scale = np.abs(blocks).max(axis=1)
    scale[scale == 0] = 1
    if (scale < np.finfo(np.float32).tiny).any():
        return None
    sample = blocks[:: max(1, blocks.size // SAMPLE)]
    values = _merge(np.unique(sample / scale[:: max(1, blocks.size // SAMPLE), None].astype(np.float64)))
    step = max(1, CHUNK // blocks.shape[1])
    for start in range(0, len(blocks), step):
        if values.size > MAX_ENTRIES:
            return None
        part = slice(start, start + step)
        values = _merge(np.union1d(values, blocks[part] / scale[part, None].astype(np.float64)))
    if values.size > MAX_ENTRIES:
        return None
    entries = np.unique(values.astype(np.float32) + np.float32(0))
    middles = _middles(entries)
    symbols = np.empty(blocks.shape, np.uint8)
    for start in range(0, len(blocks), step):
        part = slice(start, start + step)
        symbols[part] = np.searchsorted(middles, blocks[part] / scale[part, None].astype(np.float64))
    return scale, symbols, entries


def _merge(ascending: np.ndarray) -> np.ndarray:
    """One value of each run of values that are equal up to rounding."""
    apart = np.diff(ascending) > 2 * NEAR * np.abs(ascending[1:])
    kept: np.ndarray = ascending[np.concatenate([[True], apart])]
    return kept


def fit_scaled_palette(weight: np.ndarray, axis: int) -> Codes | None:
    """A codebook that all channels share, each under a scale of its own.

    The channel with the most distinct values is the reference, with scale 1. Another channel's
    scale is the one that maps most of its values on entries; what is left becomes new entries. A
    channel whose scale was negative finds the mirrored entries and adds what is missing of them.

    Args:
        weight: float32.
        axis: The axis that owns a scale per index.
    """
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    distinct = []
    for row in rows:
        values = np.unique(row[row != 0]).astype(np.float64)
        if values.size > MAX_ENTRIES:
            return None
        distinct.append(values)
    order = sorted(range(len(rows)), key=lambda index: -distinct[index].size)
    codebook = distinct[order[0]]
    scale = np.ones(len(rows), np.float32)
    for index in order[1:]:
        values = distinct[index]
        if values.size == 0:
            break
        fitted = _fit_channel(values, codebook)
        if fitted is None:
            return None
        scale[index], unmatched = fitted
        codebook = np.sort(np.concatenate([codebook, unmatched / np.float64(scale[index])]))
        if codebook.size > MAX_ENTRIES:
            return None
    if (rows == 0).any():
        codebook = np.sort(np.append(codebook, 0.0))
    entries = np.unique(codebook.astype(np.float32))
    if entries.size > MAX_ENTRIES:
        return None
    middles = _middles(entries)
    symbols = np.empty(rows.shape, np.uint8)
    for row, factor, found in zip(rows, scale, symbols, strict=True):
        found[...] = np.searchsorted(middles, row / np.float64(factor))
    shape = (weight.shape[axis], *np.delete(weight.shape, axis))
    symbols = np.ascontiguousarray(np.moveaxis(symbols.reshape(shape), 0, axis))
    return Codes(symbols, _num_bits(entries.size), scale, axis, entries)


def _fit_channel(values: np.ndarray, codebook: np.ndarray) -> tuple[np.float32, np.ndarray] | None:
    """The scale that maps most of `values` on entries or mirrored entries, and the values left over."""
    anchors = values[np.argsort(-np.abs(values))[:3]]
    best_count, best_near, best_hit = 0, np.zeros(0), np.zeros(0, bool)
    for book in (codebook, np.sort(-codebook)):
        candidates = (anchors[:, None] / book[None]).reshape(-1)
        candidates = np.unique(candidates[candidates > 0])
        for some in (values[:: max(1, values.size // PROBE)], values):
            near = _nearest(some[None] / candidates[:, None], book)
            hit = np.abs(near * candidates[:, None] - some) <= NEAR * np.abs(some)
            counts = hit.sum(axis=1)
            keep = np.argsort(-counts, kind="stable")[:PROBE]
            candidates, near, hit, counts = candidates[keep], near[keep], hit[keep], counts[keep]
        if counts.size and counts.max() > best_count:
            at = int(np.argmax(counts))
            best_count, best_near, best_hit = int(counts[at]), near[at], hit[at]
    if best_count < min(2, values.size):
        return None
    refined = refine_scales(
        np.abs(values[best_hit]).astype(np.float32)[None], np.abs(best_near[best_hit]).astype(np.float32)[None]
    )
    if refined is None:
        return None
    scale = refined[0]
    on_entry = np.abs(_nearest(values / scale, codebook) * np.float64(scale) - values) <= NEAR * np.abs(values)
    # A mirrored entry is added as it is, not as this channel's rounding of it.
    mirrored = np.isin(-best_near, codebook) & (np.abs(best_near * scale - values) <= NEAR * np.abs(values))
    exact = np.where(mirrored, best_near * np.float64(scale), values)
    return scale, exact[~on_entry]


def _nearest(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    return ascending[np.searchsorted(_middles(ascending), values)]


def _middles(ascending: np.ndarray) -> np.ndarray:
    wide = ascending.astype(np.float64)
    middles: np.ndarray = (wide[1:] + wide[:-1]) / 2
    return middles
