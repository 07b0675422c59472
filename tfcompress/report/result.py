"""Result: everything that one run of the line found out, as one frozen value."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfcompress.measure import Measurement
from tfcompress.recipe import Budget, Recipe

__all__ = ["Histogram", "LayerReport", "Result"]


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of a weight's non-zero values in equal bins, before and after compression.

    Attributes:
        low: Left edge of the first bin.
        high: Right edge of the last bin.
        before: Counts in the trained model.
        after: Counts in the finalized model.
    """

    low: float
    high: float
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray, bins: int = 48) -> Histogram:
        """Counts both weights in the same bins, symmetric around zero."""
        high = float(max(np.abs(before).max(initial=0), np.abs(after).max(initial=0))) or 1.0
        counts = [np.histogram(w[w != 0], bins=bins, range=(-high, high))[0] for w in (before, after)]
        return cls(-high, high, tuple(counts[0].tolist()), tuple(counts[1].tolist()))


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """One variable: what was asked and what the finished file holds.

    Attributes:
        layer: Path of the layer.
        variable: Path of the variable.
        shape: Its shape in Keras.
        parameters: Number of weights.
        asked_sparsity: Asked fraction of zeros, or None.
        asked_centroids: Asked number of shared values, or None.
        asked_bits: Asked bit width, or None.
        zeros: Fraction of zeros in the file, or None when it was not found there.
        levels: Most distinct values in one scale group, or None.
        bits: Bit width of the codes in the file, or None for float.
        bytes: Bytes in the file, or None.
        ram_bytes: Resident bytes of the weight when it runs, or None.
        op: The op that reads it.
        kept: Whether the audit found the promise kept; None when nothing was promised.
        reason: Why it was left alone; empty when it is compressed.
        histogram: Its values before and after, or None.
    """

    layer: str
    variable: str
    shape: tuple[int, ...]
    parameters: int
    asked_sparsity: float | None = None
    asked_centroids: int | None = None
    asked_bits: int | None = None
    zeros: float | None = None
    levels: int | None = None
    bits: int | None = None
    bytes: int | None = None
    ram_bytes: int | None = None
    op: str = ""
    kept: bool | None = None
    reason: str = ""
    histogram: Histogram | None = None

    @property
    def bits_per_weight(self) -> float | None:
        """Bits of the file that one weight costs."""
        return None if self.bytes is None else 8 * self.bytes / self.parameters


@dataclasses.dataclass(frozen=True)
class Result:
    """One compression from end to end.

    Attributes:
        model_name: Name of the model.
        recipe: The recipe that made it; with the model and the data it makes it again.
        baseline: Figures of the float `.tflite`.
        compressed: Figures of the finished file.
        drop: Loss of the metric, in its own unit; positive is worse.
        drop_error: Standard error of `drop` over the test samples, or None where the metric has none.
        activation_error: Largest change of an output by int8 activations, as a fraction of the largest
            output, over the first test batches.
        layers: One row per variable of rank ≥ 2.
        audit_passed: Whether every promise was found kept in the finished file.
        audit_failures: One line per broken promise.
        budget: The limits, or None.
        history: Training loss per epoch.
        seconds: Wall time of the training.
        environment: CPU, versions and native library.
        packed: The finished file.
        float_file: The float `.tflite`.
        promises: What the finalized weights hold, as JSON-able mappings.
    """

    model_name: str
    recipe: Recipe
    baseline: Measurement
    compressed: Measurement
    drop: float
    drop_error: float | None
    activation_error: float
    layers: tuple[LayerReport, ...]
    audit_passed: bool
    audit_failures: tuple[str, ...]
    budget: Budget | None
    history: tuple[float, ...]
    seconds: float
    environment: dict[str, str]
    packed: bytes = dataclasses.field(repr=False)
    float_file: bytes = dataclasses.field(repr=False)
    promises: Sequence[dict[str, Any]] = dataclasses.field(repr=False, default=())

    @property
    def ratio(self) -> float:
        """How many times smaller the finished file is than the float file."""
        return self.baseline.bytes / self.compressed.bytes

    @property
    def budget_failures(self) -> tuple[str, ...]:
        """One line per limit that the finished file breaks."""
        if self.budget is None:
            return ()
        found = (
            ("size_bytes", self.compressed.bytes, self.budget.size_bytes),
            ("latency_ms", self.compressed.latency_ms, self.budget.latency_ms),
            ("metric_drop", self.drop, self.budget.metric_drop),
        )
        return tuple(
            f"{name} must be at most {limit:g}. Received: {value:.6g}."
            for name, value, limit in found
            if limit is not None and value > limit
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without the files themselves."""
        layers = [
            {**dataclasses.asdict(layer), "shape": list(layer.shape), "bits_per_weight": layer.bits_per_weight}
            for layer in self.layers
        ]
        return {
            "version": 1,
            "model": self.model_name,
            "baseline": self.baseline.to_json(),
            "compressed": self.compressed.to_json(),
            "ratio": self.ratio,
            "metric": self.compressed.metric,
            "drop": self.drop,
            "drop_standard_error": self.drop_error,
            "activation_error": self.activation_error,
            "audit": {"passed": self.audit_passed, "failures": list(self.audit_failures)},
            "budget": {
                "limits": None if self.budget is None else self.budget.model_dump(exclude_none=True),
                "failures": list(self.budget_failures),
            },
            "layers": layers,
            "training": {"loss": list(self.history), "seconds": self.seconds},
            "recipe": self.recipe.model_dump(mode="json", exclude_none=True),
            "environment": self.environment,
        }
