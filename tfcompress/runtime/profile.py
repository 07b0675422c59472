"""Where one model spends its time: each op of ours, and what stock ops take between them."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfcompress.codec.library import delegate_path, load_library
from tfcompress.errors import InvalidInputError
from tfcompress.runtime.benchmark import random_inputs
from tfcompress.runtime.interpreter import Interpreter

__all__ = ["OpTime", "Profile", "profile"]

REST = "(stock ops)"


@dataclasses.dataclass(frozen=True)
class OpTime:
    """Wall time of one op of ours in one inference.

    Attributes:
        op: The op and its node, such as "TfcConv2D (node 3)"; "(stock ops)" for all that runs after the last of ours.
        kernel: The kernel that computes it, such as "conv2d_u4_avx2_4x16".
        shape: Shape of its output, such as "[1, 14, 14, 64]".
        calls: How often it runs in one inference: more than once in a loop.
        ms: Median over the rounds of its time, all calls together.
        stock_ms: The same of what stock ops take between the op of ours before it and this one.
    """

    op: str
    kernel: str
    shape: str
    calls: int
    ms: float
    stock_ms: float


@dataclasses.dataclass(frozen=True)
class Profile:
    """Times of one model's ops.

    Attributes:
        path: The file.
        total_ms: Median wall time of one inference.
        ops: Ops of ours in the order in which they first run, then what comes after the last.
    """

    path: str
    total_ms: float
    ops: tuple[OpTime, ...]

    def to_json(self) -> dict[str, Any]:
        """The same values as plain JSON types."""
        return dataclasses.asdict(self) | {"ops": [dataclasses.asdict(each) for each in self.ops]}


def profile(
    path: str | os.PathLike[str],
    *,
    rounds: int = 50,
    num_threads: int = 1,
    seed: int = 0,
) -> Profile:
    """Times every op of ours in a model; noting costs about 0.1 µs per op.

    The delegate notes when each of its ops starts and ends. LiteRT's interpreter offers Python no profiler, so
    the stock ops between two of ours are one figure.

    Args:
        path: A `.tflite` file, packed or plain.
        rounds: Inferences, ≥ 1; two more come first.
        num_threads: Threads of the interpreter, ≥ 1.
        seed: Seed of the random inputs, as those of `benchmark`.

    Raises:
        InvalidInputError: The file is missing or damaged, or `rounds` < 1.
    """
    if rounds < 1 or num_threads < 1:
        raise InvalidInputError(
            "a profile must have at least one round and one thread", f"rounds={rounds}, num_threads={num_threads}"
        )
    library = load_library(delegate_path())
    library.tfc_profile_stop.restype = ctypes.c_uint64
    interpreter = Interpreter(model_path=path, num_threads=num_threads)
    interpreter.allocate_tensors()
    for index, value in random_inputs(interpreter, seed).items():
        interpreter.set_tensor(index, value)
    for _ in range(2):
        interpreter.invoke()
    totals, found = [], []
    for _ in range(rounds):
        library.tfc_profile_start()
        begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        interpreter.invoke()
        end = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        totals.append((end - begin) / 1e6)
        found.append(_summed(_notes(library), begin, end))
    return Profile(os.fspath(path), float(np.median(totals)), _medians(found))


def _notes(library: ctypes.CDLL) -> Iterator[tuple[int, int, str]]:
    """Start, end and title of each op that ran."""
    size = library.tfc_profile_stop(None, ctypes.c_uint64(0))
    text = ctypes.create_string_buffer(max(size, 1))
    library.tfc_profile_stop(text, ctypes.c_uint64(size))
    for line in text.raw[:size].decode("utf-8", "replace").splitlines():
        begin, end, title = line.split(" ", 2)
        yield int(begin), int(end), title


def _summed(notes: Iterator[tuple[int, int, str]], begin: int, end: int) -> dict[str, tuple[int, float, float]]:
    """By title: calls, milliseconds of ours, and of the stock ops before each."""
    sums: dict[str, tuple[int, float, float]] = {}
    last = begin
    for start, stop, title in notes:
        calls, ours, stock = sums.get(title, (0, 0.0, 0.0))
        sums[title] = (calls + 1, ours + (stop - start) / 1e6, stock + (start - last) / 1e6)
        last = stop
    sums[f"{REST}||"] = (1, 0.0, (end - last) / 1e6)
    return sums


def _medians(rounds: list[dict[str, tuple[int, float, float]]]) -> tuple[OpTime, ...]:
    times = []
    for title, (calls, _, _) in rounds[-1].items():
        op, kernel, shape = title.split("|")
        ours, stock = (float(np.median([each[title][i] for each in rounds if title in each])) for i in (1, 2))
        times.append(OpTime(op, kernel, shape, calls, ours, stock))
    return tuple(times)
