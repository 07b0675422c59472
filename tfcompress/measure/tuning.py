"""Which ops our kernels compute faster than XNNPACK, measured on this machine."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfcompress.errors import InvalidInputError
from tfcompress.runtime import benchmark

__all__ = ["Tuner", "TuningRow"]


class Tunable(Protocol):
    """An op with a low-bit weight, as packing sees it: `convert.placement.candidate.Candidate`."""

    name: str
    fields: tuple[int, ...]
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    weight: Any

    def alone(self) -> bytes:
        """A float .tflite file of this op and nothing else."""

    def alone_by_kernel(self, pack: Callable[[bytes], bytes]) -> bytes | None:
        """The same file with our op, or None."""


@dataclasses.dataclass(frozen=True)
class TuningRow:
    """One measured op.

    Attributes:
        op: Our op, such as "TfcConv2D".
        x_shape: Shape of its activations.
        y_shape: Shape of its output.
        weight_shape: Shape of its weight.
        encoding: How the weight is held, such as "uniform" or "palette".
        num_bits: Bits of one code.
        kernel_ms: Median CPU time of one inference by our kernel, the interpreter's call included.
        stock_ms: The same by XNNPACK with float weights.
        speedup: Median over the rounds of stock by kernel.
    """

    op: str
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    encoding: str
    num_bits: int
    kernel_ms: float
    stock_ms: float
    speedup: float


class Tuner:
    """The speed-up of one op, for `convert.pack(speedup=...)`: measured, where it can be.

    Both sides are files of the one op, which run interleaved on one thread; the median of the ratios counts. Equal
    ops are measured once.

    Args:
        pack: Packs a float file for our kernels, however slow they are.
        otherwise: The speed-up of an op that can not be measured, for example because its weight is too small to pack.
        rounds: Samples of each side, ≥ 1.
    """

    def __init__(self, pack: Callable[[bytes], bytes], otherwise: Callable[[Any], float], *, rounds: int = 15) -> None:
        """Measures nothing yet."""
        if rounds < 1:
            raise InvalidInputError("rounds must be at least 1", f"rounds={rounds}")
        self._pack, self._otherwise, self._rounds = pack, otherwise, rounds
        self._rows: dict[tuple[Any, ...], TuningRow | None] = {}

    @property
    def rows(self) -> tuple[TuningRow, ...]:
        """What has been measured, in order."""
        return tuple(row for row in self._rows.values() if row is not None)

    def __call__(self, candidate: Any) -> float:
        """Time of XNNPACK over time of our kernel; > 1 is faster.

        Args:
            candidate: A `Tunable`.
        """
        key = _key(candidate)
        if key not in self._rows:
            self._rows[key] = self._measured(candidate)
        row = self._rows[key]
        return self._otherwise(candidate) if row is None else row.speedup

    def _measured(self, candidate: Tunable) -> TuningRow | None:
        packed = candidate.alone_by_kernel(self._pack)
        if packed is None:
            return None
        with tempfile.TemporaryDirectory(prefix="tfcompress-") as folder:
            paths = [Path(folder, "stock.tflite"), Path(folder, "kernel.tflite")]
            for path, content in zip(paths, (candidate.alone(), packed), strict=True):
                path.write_bytes(content)
            stock, kernel = benchmark(paths, rounds=self._rounds, warmup=2, memory=False).timings
        weight = candidate.weight
        return TuningRow(
            op=candidate.name,
            x_shape=candidate.x_shape,
            y_shape=candidate.y_shape,
            weight_shape=tuple(weight.shape),
            encoding=str(weight.encoding),
            num_bits=weight.num_bits,
            kernel_ms=kernel.latency_ms,
            stock_ms=stock.latency_ms,
            speedup=kernel.speedup,
        )


def _key(candidate: Tunable) -> tuple[Any, ...]:
    """What ops have in common that take the same time: kernels are chosen by shape, codes and zeros."""
    weight = candidate.weight
    tensor = weight.tensor()
    zeros = round(20 * float(np.mean(tensor == 0)))
    levels = None if weight.codebook is None else weight.codebook.tobytes()
    return (
        candidate.name, candidate.fields, candidate.x_shape, weight.shape, str(weight.encoding), weight.num_bits,
        levels, zeros,
    )  # fmt: skip
