"""How fast our kernels are beside XNNPACK's float ones, predicted from figures that were measured once.

    speedup = time(stock) / time(kernel), where time = sum_i cost_i * feature_i

`tools/fit_placement` measures and fits the costs. `Tuner` measures the ops of one model instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tfcompress.convert.placement.candidate import Candidate

__all__ = ["FEW_ROWS", "features", "predicted_speedup"]

FEW_ROWS = 4  # which the kernel of 1-bit weights takes at once
# Microseconds per call, and nanoseconds per output row, per value that a row reads, per value that it writes, and per
# product; one thread of a Zen 3 core.
COSTS = {
    "stock": (1.17, 1.18, 0.0277, 0.0678, 0.027),
    "bit_row": (1.5, 0, 0.0359, 0.109, 0.0102),
    "bit": (6.49, 0, 0.104, 0.337, 0.00965),
    "crumb": (1, 3.46, 0.143, 0.253, 0.0102),
    "nibble": (0.931, 2.32, 0.175, 0.227, 0.0117),
    "byte": (1.02, 6.63, 0.0741, 0.527, 0.0211),
    "palette": (0.949, 3, 0.0482, 0.275, 0.0197),
}


def features(x_shape: Sequence[int], weight_shape: Sequence[int], y_shape: Sequence[int]) -> list[float]:
    """What the costs are multiplied by, in thousands but the first: calls, rows, values read, written, products.

    Args:
        x_shape: Of the activations.
        weight_shape: [out, in] or [out, height, width, in].
        y_shape: Of the output.
    """
    outs, depth = weight_shape[0], math.prod(weight_shape[1:])
    rows = max(1, math.prod(y_shape) // outs)
    return [1.0, rows / 1e3, rows * depth / 1e3, rows * outs / 1e3, rows * outs * depth / 1e3]


def predicted_speedup(candidate: Candidate) -> float:
    """How many times as fast as XNNPACK's float op our kernel is; > 1 is faster.

    Args:
        candidate: A convolution or dense layer.
    """
    costs = features(candidate.x_shape, candidate.weight.symbols.shape, candidate.y_shape)
    stock, kernel = (
        sum(cost * each for cost, each in zip(COSTS[name], costs, strict=True)) for name in ("stock", _kind(candidate))
    )
    return stock / kernel


def _kind(candidate: Candidate) -> str:
    """The kernel that the delegate chooses: by the integers that the levels are on a grid, and the size."""
    weight = candidate.weight
    used = np.unique(weight.symbols)
    if used.size <= 2 and math.prod(weight.symbols.shape[1:-1]) == 1:
        rows = math.prod(candidate.y_shape) // weight.symbols.shape[0]
        return "bit_row" if rows <= FEW_ROWS else "bit"
    if weight.encoding in ("palette", "power_of_two"):
        return "palette" if weight.num_bits <= 4 else "byte"
    return "crumb" if weight.num_bits <= 2 else "nibble" if weight.num_bits <= 4 else "byte"
