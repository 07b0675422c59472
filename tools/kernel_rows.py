"""The figures of `tools/bench_kernels`: ratios of speed, both sides interleaved in one process."""

from __future__ import annotations

import ctypes
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from bench import Run
from kernel_models import float_conv, float_depthwise, int4_dense, int8_dense

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "kernels-bench"
ROUNDS = 101
ROUND_US = 2000.0  # each side, each round

UNIFORM, PALETTE, TERNARY, BINARY, SIGNS = range(5)  # `Weights` of bench_api.cc
MicrosecondsOf = Callable[[int], float]


@dataclass(frozen=True)
class Layer:
    """One layer with random weights: a square map with SAME padding, or of size 1 a dense layer of `batch` rows.

    `zeros` percent of its weights are zero, in blocks of inputs x outputs.
    """

    size: int
    kernel: int
    ins: int
    outs: int
    weights: int
    num_bits: int
    batch: int = 1
    zeros: int = 0
    block: tuple[int, int] = (1, 1)
    depthwise: bool = False
    stride: int = 1

    def timer(self) -> MicrosecondsOf:
        """Microseconds of CPU time per run, by the kernel that the library chooses."""
        library = _library()
        map_sizes = (self.size, self.kernel, self.stride, self.ins, self.outs, self.batch)
        sizes = (*map_sizes, self.zeros, *self.block, self.depthwise)
        shape = (ctypes.c_int * len(sizes))(*sizes)
        layer = library.tfc_bench_layer(shape, self.weights, self.num_bits, b"")
        return lambda runs: library.tfc_bench_run(layer, runs)


@cache
def _library() -> Any:
    source = str(ROOT / "tfcompress/native")
    for command in (
        ["cmake", "-S", source, "-B", str(BUILD), "-G", "Ninja", "-DTFC_BUILD_BENCH=ON"],
        ["cmake", "--build", str(BUILD), "--target", "tfc_kernels_bench"],
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    library = ctypes.CDLL(str(BUILD / "kernels" / "libtfc_kernels_bench.so"))
    library.tfc_bench_layer.restype = ctypes.c_void_p
    library.tfc_bench_layer.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_char_p]
    library.tfc_bench_run.restype = ctypes.c_double
    library.tfc_bench_run.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library


def _interpreter_timer(model: bytes) -> MicrosecondsOf:
    """Microseconds of CPU time per invoke of a file by XNNPACK, the interpreter's own call (about 1 µs) included."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    random = np.random.default_rng(1)
    interpreter.set_tensor(details["index"], random.standard_normal(details["shape"], dtype=np.float32))

    def run(runs: int) -> float:
        start = time.thread_time_ns()
        for _ in range(runs):
            interpreter.invoke()
        return (time.thread_time_ns() - start) / runs / 1e3

    return run


def _speedup(ours: MicrosecondsOf, theirs: MicrosecondsOf, quick: bool) -> float:
    """How many times as fast as theirs ours is.

    Rounds take turns, and of each side the 10 % quantile counts: other processes empty the caches that both share, and
    a round that reads all its weights from memory says nothing about the kernel.
    """
    sides = (ours, theirs)
    runs = [max(1, round(ROUND_US / side(5))) for side in sides]
    times = [
        [side(count) for side, count in zip(sides, runs, strict=True)] for _ in range(ROUNDS // (10 if quick else 1))
    ]
    quiet = np.quantile(times, 0.1, axis=0)
    return float(quiet[1] / quiet[0])


def conv(weights: int, num_bits: int) -> Callable[[Run], float]:
    """3x3 over 14x14, 256 to 256 channels, against XNNPACK in float."""

    def measure(run: Run) -> float:
        ours = Layer(14, 3, 256, 256, weights, num_bits).timer()
        return _speedup(ours, _interpreter_timer(float_conv(14, 3, 256, 256)), run.quick)

    return measure


def sparse_conv(weights: int, num_bits: int) -> Callable[[Run], float]:
    """1x1 over 14x14, 512 to 512 channels as in MobileNet, 90 % zeros, against XNNPACK in float."""

    def measure(run: Run) -> float:
        ours = Layer(14, 1, 512, 512, weights, num_bits, zeros=90).timer()
        return _speedup(ours, _interpreter_timer(float_conv(14, 1, 512, 512)), run.quick)

    return measure


def depthwise(weights: int, num_bits: int) -> Callable[[Run], float]:
    """3x3 over 14x14, 576 channels as in MobileNetV2, against XNNPACK in float."""

    def measure(run: Run) -> float:
        ours = Layer(14, 3, 576, 576, weights, num_bits, depthwise=True).timer()
        return _speedup(ours, _interpreter_timer(float_depthwise(14, 3, 576, 1)), run.quick)

    return measure


def sparse_dense(weights: int, num_bits: int) -> Callable[[Run], float]:
    """One row through 1024 x 1024, 90 % zeros in blocks of 1 input x 16 outputs, against XNNPACK with int8 weights.

    Ours is timed without the interpreter's call; what that of a tiny layer takes is added.
    """

    def measure(run: Run) -> float:
        kernel = Layer(1, 1, 1024, 1024, weights, num_bits, zeros=90, block=(1, 16)).timer()
        call = _interpreter_timer(int8_dense(1, 8, 8))(2000)
        return _speedup(lambda runs: kernel(runs) + call, _interpreter_timer(int8_dense(1, 1024, 1024)), run.quick)

    return measure


def dense(weights: int, num_bits: int) -> Callable[[Run], float]:
    """One row through 4096 x 4096, in cache, against XNNPACK with int4 weights."""

    def measure(run: Run) -> float:
        ours = Layer(1, 1, 4096, 4096, weights, num_bits).timer()
        return _speedup(ours, _interpreter_timer(int4_dense(1, 4096, 4096)), run.quick)

    return measure
