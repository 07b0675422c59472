"""Allocation: how a total sparsity is shared out among the weights of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["erdos_renyi_kernel"]


def erdos_renyi_kernel(shapes: Sequence[Sequence[int]], sparsity: float) -> list[float]:
    """Sparsities that together prune the asked fraction, with more for larger weights (ERK; Evci et al., 2020).

    A weight keeps a fraction proportional to `sum(shape) / prod(shape)`; those that would keep more
    than all of themselves stay dense, and the others make up for them.

    >>> [round(s, 3) for s in erdos_renyi_kernel([(100, 100), (1000, 1000)], 0.9)]
    [0.082, 0.908]

    Args:
        shapes: Shape of each weight.
        sparsity: Fraction of zeros over all of them, 0 to 1.

    Returns:
        One sparsity per weight, 0 to 1.
    """
    sizes = [math.prod(shape) for shape in shapes]
    raw = [sum(shape) / size for shape, size in zip(shapes, sizes, strict=True)]
    dense: set[int] = set()
    while len(dense) < len(shapes):
        others = [index for index in range(len(shapes)) if index not in dense]
        kept = (1 - sparsity) * sum(sizes) - sum(sizes[index] for index in dense)
        factor = kept / sum(raw[index] * sizes[index] for index in others)
        too_dense = [index for index in others if factor * raw[index] > 1]
        if not too_dense:
            return [0.0 if index in dense else 1 - factor * raw[index] for index in range(len(shapes))]
        dense.update(too_dense)
    return [0.0] * len(shapes)
