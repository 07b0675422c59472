"""Which payload a constant becomes: codes where it has structure, else floats."""

from __future__ import annotations

import numpy as np

from tfcompress.codec import Codes, Floats
from tfcompress.convert.levels import uniform_codes
from tfcompress.convert.palette import fit_palette
from tfcompress.convert.structure import discover, estimated_bytes
from tfcompress.errors import PayloadError

__all__ = ["choose"]


def choose(value: np.ndarray, dtype: str, axes: tuple[int, ...]) -> Codes | Floats | None:
    """What a constant is made of, exactly for integers and float16, within a relative 1e-6 for float32 codes.

    Args:
        value: The constant; int4 as int8.
        dtype: Type of the tensor: "float32", "float16", "int8" or "int4".
        axes: Axes that may own a scale per index.

    Returns:
        None for what the format can not hold: NaN, infinity, denormal numbers.
    """
    if not 1 <= value.ndim <= 8 or value.size == 0:
        return None
    if dtype in ("int8", "int4"):
        return _integers(value, dtype)
    value = value.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
    if dtype == "float32":
        return discover(value, axes) or _floats(value, dtype)
    palette = fit_palette(value)
    if palette is not None:
        return Codes(palette.symbols, palette.num_bits, None, None, palette.codebook, dtype=dtype)
    return _floats(value, dtype)


def _integers(value: np.ndarray, dtype: str) -> Codes:
    """The integers themselves as codes, or as indices into the few that occur."""
    direct = uniform_codes(value.astype(np.int32), None, None, dtype=dtype)
    palette = fit_palette(value.astype(np.float32))
    assert direct is not None and palette is not None  # 8 bits hold every int8
    indexed = Codes(palette.symbols, palette.num_bits, None, None, palette.codebook, dtype=dtype)
    return min(direct, indexed, key=estimated_bytes)


def _floats(value: np.ndarray, dtype: str) -> Floats | None:
    try:
        return Floats(value, dtype)
    except PayloadError:
        return None
