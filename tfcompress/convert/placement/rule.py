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

WIDE, SMALL = 512, 1024  # channels and pixels: depthwise convolutions of more and fewer were faster throughout
NOTICEABLE = 1.0  # microseconds
FEW_ROWS = 4  # which the kernel of 1-bit weights takes at once
# Microseconds per call, and nanoseconds per output row, per value that a row reads, per value that it writes, per
# product, and per weight; one thread of a Zen 3 core.
COSTS = {
    "stock": (0.8, 2.49, 0.0503, 0.101, 0.0251, 0.0666),
    "bit": (0.8, 5.38, 0.905, 0.387, 0.00889, 0),
    "crumb": (0.8, 7.27, 0.113, 0.22, 0.00797, 0.0137),
    "bit_row": (0.8, 66.4, 0.598, 0.193, 0.00967, 0),
    "nibble": (0.8, 1.65, 0.221, 0.24, 0.00907, 0.00669),
    "byte": (0.8, 7.32, 0.233, 0.281, 0.0136, 0.029),
    "palette": (0.8, 4.96, 0.268, 0.226, 0.0172, 0.015),
    "signs": (0.8, 17.6, 0.107, 1.12, 0.00214, 0.00149),
    "stock_depthwise": (0.8, 0, 0.363, 0, 0.0584, 0),
    "depthwise": (0.8, 0, 0.39, 0, 0.0628, 0),  # 0.79 to 1.26 times as fast: rather not
    "stock_depthwise_wide": (0.8, 0, 0, 0, 0.0956, 0),
    "depthwise_wide": (0.8, 0, 0, 0, 0.0708, 0),
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

    Of a convolution or dense layer a loss of less than a microsecond counts as none: decoding takes room in the file
    and in memory.

    Args:
        candidate: A convolution or dense layer.
    """
    costs = features(candidate.x_shape, candidate.weight.symbols.shape, candidate.y_shape)
    kind = kind_of(candidate)
    stock, kernel = (
        sum(cost * each for cost, each in zip(COSTS[name], costs, strict=True)) for name in (stock_of(kind), kind)
    )
    close = stock_of(kind) == "stock" and kernel - stock < NOTICEABLE
    return max(1.0, stock / kernel) if close else stock / kernel


def stock_of(kind: str) -> str:
    """The name of the stock op's costs beside a kernel's."""
    return f"stock_{kind}" if kind.startswith("depthwise") else "stock"


def kind_of(candidate: Candidate) -> str:
    """The name of the costs of the kernel that the delegate chooses: by the op, the levels, and the size.

    Args:
        candidate: A convolution or dense layer.
    """
    weight = candidate.weight
    if candidate.name == DEPTHWISE_CONV_2D:
        *pixels, channels = candidate.y_shape
        return "depthwise_wide" if channels >= WIDE and math.prod(pixels) <= SMALL else "depthwise"
    if candidate.name in (BINARY_CONV_2D, BINARY_FULLY_CONNECTED):
        return "signs"
    used = np.unique(weight.symbols)
    if used.size <= 2 and math.prod(weight.symbols.shape[1:-1]) == 1:
        rows = math.prod(candidate.y_shape) // weight.symbols.shape[0]
        return "bit_row" if rows <= FEW_ROWS else "bit"
    if weight.encoding in ("palette", "power_of_two"):
        return "palette" if weight.num_bits <= 4 else "byte"
    return "crumb" if weight.num_bits <= 2 else "nibble" if weight.num_bits <= 4 else "byte"
