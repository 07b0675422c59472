"""Latency of several models side by side, on one core of one process."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress.errors import InvalidInputError
from tfcompress.runtime.interpreter import Interpreter
from tfcompress.runtime.memory import LoadFigures, load_figures

__all__ = ["Benchmark", "Timing", "benchmark", "random_inputs"]

# A sample shorter than this is mostly the clock: reading it takes about 0.3 µs.
_SAMPLE_NS = 500_000


@dataclasses.dataclass(frozen=True)
class Timing:
    """One model's figures.

    Attributes:
        path: The file.
        bytes: Size of the file.
        latency_ms: Median time of one inference: CPU time of the thread when single-threaded (other
            processes do not count), else wall time.
        latency_low_ms: First quartile of the same.
        latency_high_ms: Third quartile of the same.
        wall_ms: Median wall time of one inference.
        speedup: Median over the rounds of the first model's time divided by this one's; > 1 is faster.
        peak_ram_bytes: Resident memory that the model adds to a process at the peak, or None.
        wall_low_ms: First quartile of the wall time.
        wall_high_ms: Third quartile of the same.
        load: What loading costs, in a process of its own, or None.
    """

    path: str
    bytes: int
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    wall_ms: float
    speedup: float
    peak_ram_bytes: int | None
    wall_low_ms: float
    wall_high_ms: float
    load: LoadFigures | None = None


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Figures of several models that ran interleaved.

    Attributes:
        timings: One per file, in the order given.
        rounds: Samples per model.
        num_threads: Threads of every interpreter.
    """

    timings: tuple[Timing, ...]
    rounds: int
    num_threads: int

    def to_json(self) -> dict[str, Any]:
        """The same values as plain JSON types."""
        return {
            "rounds": self.rounds,
            "num_threads": self.num_threads,
            "timings": [dataclasses.asdict(timing) for timing in self.timings],
        }


def benchmark(
    paths: Sequence[str | os.PathLike[str]],
    *,
    rounds: int = 50,
    warmup: int = 5,
    num_threads: int = 1,
    memory: bool = True,
    seed: int = 0,
    on_round: Callable[[int], None] | None = None,
) -> Benchmark:
    """Measures batch-1 latency, memory and load time of models, interleaved so that drift hits all alike.

    In each round every model runs once more, in an order that rotates; a sample repeats a fast model
    until it lasts half a millisecond. Inputs are random: uniform in [0, 1) or over the integer range.

    Args:
        paths: `.tflite` files, packed or plain; ratios are against the first.
        rounds: Samples per model, ≥ 1.
        warmup: Inferences of each model before the first sample.
        num_threads: Threads of each interpreter, ≥ 1.
        memory: Whether to measure memory and the time to load too, in one more process per model.
        seed: Seed of the random inputs.
        on_round: Called with the number of rounds done, for a progress bar.

    Raises:
        InvalidInputError: A file is missing or damaged, or `rounds` < 1.
    """
    if not paths or rounds < 1 or num_threads < 1 or warmup < 0:
        raise InvalidInputError(
            "a benchmark must have at least one file, one round and one thread",
            f"{len(paths)} files, rounds={rounds}, warmup={warmup}, num_threads={num_threads}",
            "Give larger numbers",
        )
    runners = [_Runner(path, num_threads, seed) for path in paths]
    for runner in runners:
        runner.warm_up(warmup)
    cpu, wall = np.empty((rounds, len(runners))), np.empty((rounds, len(runners)))
    for round_index in range(rounds):
        for offset in range(len(runners)):
            column = (round_index + offset) % len(runners)
            cpu[round_index, column], wall[round_index, column] = runners[column].sample()
        if on_round is not None:
            on_round(round_index + 1)
    times = cpu if num_threads == 1 else wall
    loads = [load_figures(path, num_threads) if memory else None for path in paths]
    timings = [_timing(path, times[:, i], wall[:, i], times[:, 0], loads[i]) for i, path in enumerate(paths)]
    return Benchmark(tuple(timings), rounds, num_threads)


class _Runner:
    """One interpreter with its inputs set."""

    def __init__(self, path: str | os.PathLike[str], num_threads: int, seed: int) -> None:
        self._interpreter = Interpreter(model_path=path, num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._repeats = 1
        for index, value in random_inputs(self._interpreter, seed).items():
            self._interpreter.set_tensor(index, value)

    def warm_up(self, count: int) -> None:
        for _ in range(max(count, 1)):
            self._interpreter.invoke()
        _, wall_ns = self._run(3)
        self._repeats = max(1, int(np.ceil(_SAMPLE_NS / max(wall_ns / 3, 1.0))))

    def sample(self) -> tuple[float, float]:
        cpu_ns, wall_ns = self._run(self._repeats)
        return cpu_ns / self._repeats / 1e6, wall_ns / self._repeats / 1e6

    def _run(self, repeats: int) -> tuple[int, int]:
        invoke = self._interpreter.invoke
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        for _ in range(repeats):
            invoke()
        return time.thread_time_ns() - cpu, time.perf_counter_ns() - wall


def random_inputs(interpreter: Interpreter, seed: int) -> dict[int, np.ndarray[Any, Any]]:
    """Values for every input of a model: uniform in [0, 1), or over the integer range.

    Args:
        interpreter: Has its tensors allocated.
        seed: Of the values.
    """
    random = np.random.default_rng(seed)
    return {detail["index"]: _random_input(random, detail) for detail in interpreter.get_input_details()}


def _random_input(random: np.random.Generator, detail: dict[str, Any]) -> np.ndarray[Any, Any]:
    shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
    if dtype.kind in "iu":
        # Indices of an unknown table: small values are inside of most.
        high = 2 if dtype.itemsize > 1 else np.iinfo(dtype).max
        return random.integers(0, high, shape, dtype=dtype)
    if dtype.kind == "b":
        return random.random(shape) < 0.5
    return random.random(shape).astype(dtype)


def _timing(
    path: str | os.PathLike[str],
    times: np.ndarray[Any, Any],
    wall: np.ndarray[Any, Any],
    first: np.ndarray[Any, Any],
    load: LoadFigures | None,
) -> Timing:
    low, median, high = np.percentile(times, [25, 50, 75])
    wall_low, wall_median, wall_high = np.percentile(wall, [25, 50, 75])
    return Timing(
        path=os.fspath(path),
        bytes=Path(path).stat().st_size,
        latency_ms=float(median),
        latency_low_ms=float(low),
        latency_high_ms=float(high),
        wall_ms=float(wall_median),
        wall_low_ms=float(wall_low),
        wall_high_ms=float(wall_high),
        speedup=float(np.median(first / times)),
        peak_ram_bytes=None if load is None else load.peak_ram_bytes,
        load=load,
    )
