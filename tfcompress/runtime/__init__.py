"""Runs packed models: numpy and LiteRT only, so that it works on a device without TensorFlow."""

from tfcompress.codec.library import delegate_path, load_library
from tfcompress.runtime.benchmark import Benchmark, Timing, benchmark
from tfcompress.runtime.interpreter import Interpreter
from tfcompress.runtime.memory import LoadFigures, load_figures, peak_memory
from tfcompress.runtime.profile import OpTime, Profile, profile

__all__ = [
    "Benchmark",
    "Interpreter",
    "LoadFigures",
    "OpTime",
    "Profile",
    "Timing",
    "benchmark",
    "delegate_path",
    "load_figures",
    "load_library",
    "peak_memory",
    "profile",
]
