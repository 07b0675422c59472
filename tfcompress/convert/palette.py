"""Palettes: a weight whose entries share a small set of values, also under a scale per channel."""

from __future__ import annotations

import numpy as np

from tfcompress.codec import Codes

__all__ = ["fit_palette", "fit_scaled_palette"]

MAX_ENTRIES = 256
PROBE = 16  # values, and then scales, that are tried before all are
SAMPLE = 4096  # weights that show at once that there are more entries
NEAR = 5e-7  # relative; two roundings on either side stay well below it


def _num_bits(entries: int) -> int:
    return max(1, (entries - 1).bit_length())


def fit_palette(weight: np.ndarray) -> Codes | None:
    """The weight's distinct values as a codebook of at most 256 entries, exactly."""
    if np.unique(weight.reshape(-1)[:SAMPLE]).size > MAX_ENTRIES:
        return None
    values = np.unique(weight.reshape(-1))
    if values.size > MAX_ENTRIES:
        return None
    symbols = np.searchsorted(values, weight.reshape(-1))
    codebook = values.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
    return Codes(
        symbols.reshape(weight.shape).astype(np.uint8),
        _num_bits(values.size),
        None,
        None,
        codebook,
    )


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
    broadcast = scale.reshape([-1 if a == axis else 1 for a in range(weight.ndim)]).astype(np.float64)
    middles = (entries[1:].astype(np.float64) + entries[:-1]) / 2
    symbols = np.searchsorted(middles, weight / broadcast).astype(np.uint8)
    return Codes(symbols, _num_bits(entries.size), scale, axis, entries)


def _fit_channel(values: np.ndarray, codebook: np.ndarray) -> tuple[np.float32, np.ndarray] | None:
    """The scale that maps most of `values` on entries or mirrored entries, and the values left over."""
    anchors = values[np.argsort(-np.abs(values))[:3]]
    best_count, best_scale, best_near = 0, 0.0, np.zeros(0)
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
            best_count = int(counts[at])
            best_scale = float(np.mean(values[hit[at]] / near[at][hit[at]]))
            best_near = near[at]
    if best_count < min(2, values.size):
        return None
    scale = np.float32(best_scale)
    on_entry = np.abs(_nearest(values / scale, codebook) * np.float64(scale) - values) <= NEAR * np.abs(values)
    # A mirrored entry is added as it is, not as this channel's rounding of it.
    mirrored = np.isin(-best_near, codebook) & (np.abs(best_near * scale - values) <= NEAR * np.abs(values))
    exact = np.where(mirrored, best_near * np.float64(scale), values)
    return scale, exact[~on_entry]


def _nearest(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    middles = (ascending[1:] + ascending[:-1]) / 2
    return ascending[np.searchsorted(middles, values)]
