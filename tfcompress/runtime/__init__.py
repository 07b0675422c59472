"""Runs packed models: numpy and LiteRT only, so that it works on a device without TensorFlow."""

from tfcompress.codec.library import delegate_path, load_library
from tfcompress.runtime.benchmark import Benchmark, Timing, benchmark
from tfcompress.runtime.interpreter import Interpreter
from tfcompress.runtime.memory import LoadFigures, load_figures, peak_memory

__all__ = [
    "Benchmark",
    "Interpreter",
    "LoadFigures",
    "Timing",
    "benchmark",
    "delegate_path",
    "load_figures",
    "load_library",
    "peak_memory",
]
