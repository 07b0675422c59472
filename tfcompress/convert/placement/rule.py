"""How fast our kernels are beside XNNPACK's float ones, predicted from figures that were measured once.

    speedup = time(stock) / time(kernel), where time = sum_i cost_i * feature_i

`tools/fit_placement` measures and fits the costs. `Tuner` measures the ops of one model instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tfcompress.convert.custom_ops import BINARY_CONV_2D, BINARY_FULLY_CONNECTED, DEPTHWISE_CONV_2D
from tfcompress.convert.placement.candidate import Candidate

__all__ = ["features", "kind_of", "predicted_speedup", "stock_of"]

FEW_ROWS = 4  # which the kernel of 1-bit weights takes at once
# Microseconds per call, and nanoseconds per output row, per value that a row reads, per value that it writes, per
# product, and per weight; one thread of a Zen 3 core.
COSTS = {
    "stock": (0.8, 2, 0.0433, 0.0991, 0.0236, 0.0728),
    "bit": (0.8, 7.55, 0.818, 0.439, 0.00702, 0),
    "crumb": (0.8, 3.91, 0.13, 0.44, 0.00719, 0.00713),
    "bit_row": (0.8, 854, 0.019, 0.522, 0.00552, 0),
    "nibble": (0.8, 4.38, 0.106, 0.227, 0.00785, 0.0113),
    "byte": (0.8, 5.06, 0.0654, 0.57, 0.018, 0.0103),
    "palette": (0.8, 3.39, 0.075, 0.304, 0.0172, 0.0133),
    "signs": (0.8, 15.2, 0.124, 1.04, 0.00288, 0.00292),
    "stock_depthwise": (0.8, 0, 0.734, 0, 0.0756, 0),
    "depthwise": (0.8, 0, 0.754, 0, 0.111, 0),
}


def features(x_shape: Sequence[int], weight_shape: Sequence[int], y_shape: Sequence[int]) -> list[float]:
    """Costs per 1, then per 1000: calls, rows, values read and written, products, weights.

    Args:
        x_shape: Of the activations.
        weight_shape: [out, in], [out, height, width, in], or [1, height, width, out] of a depthwise convolution.
        y_shape: Of the output.
    """
    outs = y_shape[-1]
    depth = math.prod(weight_shape) // outs
    rows = max(1, math.prod(y_shape) // outs)
    per_row = (1, depth, outs, outs * depth)
    return [1.0, *(rows * each / 1e3 for each in per_row), outs * depth / 1e3]


def predicted_speedup(candidate: Candidate) -> float:
    """How many times as fast as XNNPACK's float op our kernel is; > 1 is faster.

    Args:
        candidate: A convolution or dense layer.
    """
    costs = features(candidate.x_shape, candidate.weight.symbols.shape, candidate.y_shape)
    kind = kind_of(candidate)
    stock, kernel = (
        sum(cost * each for cost, each in zip(COSTS[name], costs, strict=True)) for name in (stock_of(kind), kind)
    )
    return stock / kernel


def stock_of(kind: str) -> str:
    """The name of the stock op's costs beside a kernel's."""
    return "stock_depthwise" if kind == "depthwise" else "stock"


def kind_of(candidate: Candidate) -> str:
    """The name of the costs of the kernel that the delegate chooses: by the op, the levels, and the size.

    Args:
        candidate: A convolution or dense layer.
    """
    weight = candidate.weight
    if candidate.name == DEPTHWISE_CONV_2D:
        return "depthwise"
    if candidate.name in (BINARY_CONV_2D, BINARY_FULLY_CONNECTED):
        return "signs"
    used = np.unique(weight.symbols)
    if used.size <= 2 and math.prod(weight.symbols.shape[1:-1]) == 1:
        rows = math.prod(candidate.y_shape) // weight.symbols.shape[0]
        return "bit_row" if rows <= FEW_ROWS else "bit"
    if weight.encoding in ("palette", "power_of_two"):
        return "palette" if weight.num_bits <= 4 else "byte"
    return "crumb" if weight.num_bits <= 2 else "nibble" if weight.num_bits <= 4 else "byte"
