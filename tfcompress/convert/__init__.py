"""Keras model to float .tflite, to packed .tflite, and back; inspection and audit of the file."""

from tfcompress.convert.expand import expand
from tfcompress.convert.graph import strip_names
from tfcompress.convert.keras_to_tflite import to_float_tflite
from tfcompress.convert.pack import pack
from tfcompress.convert.placement.rule import predicted_speedup
from tfcompress.convert.verify.audit import AuditResult, AuditRow, audit
from tfcompress.convert.verify.diff import Difference, TensorChange, diff
from tfcompress.convert.verify.inspect import TensorInfo, inspect

__all__ = [
    "AuditResult",
    "AuditRow",
    "Difference",
    "TensorChange",
    "TensorInfo",
    "audit",
    "diff",
    "expand",
    "inspect",
    "pack",
    "predicted_speedup",
    "strip_names",
    "to_float_tflite",
]
