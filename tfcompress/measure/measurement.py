"""One finished file in four figures, and the difference of two with its uncertainty."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress.measure.metric import Direction, Metric
from tfcompress.measure.predictor import Predictor, leaves
from tfcompress.runtime import benchmark

__all__ = ["Measurement", "activation_error", "measure", "paired_drop"]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a finished file costs and is worth.

    Attributes:
        bytes: Size of the file.
        metric: Name of the figure of merit.
        value: The figure of merit on the test data, through the delegate.
        direction: "max" or "min".
        latency_ms: Median time of one batch-1 inference on one thread.
        peak_ram_bytes: Resident memory that the model adds to a process at the peak.
        speedup: Time of the first file measured beside it, divided by its own; the median over rounds.
    """

    bytes: int
    metric: str
    value: float
    direction: Direction
    latency_ms: float
    peak_ram_bytes: int
    speedup: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; the value stands under the metric's own name."""
        fields = dataclasses.asdict(self)
        fields[self.metric] = fields.pop("value")
        return fields


def measure(
    paths: Sequence[str | os.PathLike[str]],
    batches: Callable[[], Iterable[tuple[Any, Any]]],
    metric: Metric,
    *,
    rounds: int = 50,
) -> tuple[tuple[Measurement, ...], tuple[np.ndarray | None, ...]]:
    """Measures files side by side on the same data, on one thread.

    Args:
        paths: `.tflite` files; the first is the one that speed-ups refer to.
        batches: Starts a pass over the test data: pairs (x, y).
        metric: The figure of merit.
        rounds: Latency samples per file.

    Returns:
        The measurements, and per file the scores of the samples (None where the metric has none).
    """
    values, scores = [], []
    for path in paths:
        labels, outputs = Predictor(path).over(batches())
        values.append(metric.value(labels, outputs))
        scores.append(None if metric.scores is None else metric.scores(labels, outputs))
    timings = benchmark(paths, rounds=rounds).timings
    measurements = [
        Measurement(
            bytes=Path(path).stat().st_size,
            metric=metric.name,
            value=value,
            direction=metric.direction,
            latency_ms=timing.latency_ms,
            peak_ram_bytes=timing.peak_ram_bytes or 0,
            speedup=timing.speedup,
        )
        for path, value, timing in zip(paths, values, timings, strict=True)
    ]
    return tuple(measurements), tuple(scores)


def activation_error(path: str | os.PathLike[str], batches: Callable[[], Iterable[tuple[Any, Any]]]) -> float:
    """How far int8 activations move a packed file's outputs from its exact ones.

    `max |y_int8 - y_float| / max |y_float|` over all samples and outputs, where y_float comes from
    the delegate's reference path (`TFC_ACT=float`).

    Args:
        path: The packed file.
        batches: Starts a pass over the data: pairs (x, y).
    """
    before = os.environ.get("TFC_ACT")
    try:
        outputs = []
        for arithmetic in ("float", "int8"):
            os.environ["TFC_ACT"] = arithmetic
            outputs.append(leaves(Predictor(path).over(batches())[1]))
    finally:
        if before is None:
            del os.environ["TFC_ACT"]
        else:
            os.environ["TFC_ACT"] = before
    exact, quick = outputs
    gap = max(float(np.abs(a - b).max()) for a, b in zip(exact, quick, strict=True))
    return gap / (max(float(np.abs(a).max()) for a in exact) or 1.0)


def paired_drop(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Mean loss of score from `before` to `after` on the same samples, and its standard error.

    `d_i = before_i - after_i`; drop = mean(d), standard error = std(d) / sqrt(n). Pairing removes
    the variance that both files share, so it is several times smaller than either file's own error.

    Args:
        before: Scores per sample, larger is better.
        after: Scores of the same samples.
    """
    difference = np.asarray(before, np.float64) - np.asarray(after, np.float64)
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return float(difference.mean()), float(error)
