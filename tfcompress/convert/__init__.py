"""Keras model to float .tflite, to packed .tflite, and back; inspection and audit of the file."""

from tfcompress.convert.audit import AuditResult, AuditRow, audit
from tfcompress.convert.expand import expand
from tfcompress.convert.graph import strip_names
from tfcompress.convert.inspect import TensorInfo, inspect
from tfcompress.convert.keras_to_tflite import to_float_tflite
from tfcompress.convert.pack import pack

__all__ = [
    "AuditResult",
    "AuditRow",
    "TensorInfo",
    "audit",
    "expand",
    "inspect",
    "pack",
    "strip_names",
    "to_float_tflite",
]
