"""Runs packed models: numpy and LiteRT only, so that it works on a device without TensorFlow."""

from tfcompress.codec.library import delegate_path, load_library
from tfcompress.runtime.benchmark import Benchmark, Timing, benchmark
from tfcompress.runtime.interpreter import Interpreter
from tfcompress.runtime.memory import peak_memory

__all__ = ["Benchmark", "Interpreter", "Timing", "benchmark", "delegate_path", "load_library", "peak_memory"]
