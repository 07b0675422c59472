"""Small packed files, between them with each of our ops and payloads of every coder, form and type."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from delegate_files import FileBuilder
from payload_samples import plans, sample

from tfcompress.codec import Codes, Floats, encode
from tfcompress.codec.container import encode_as

Builtin = schema.BuiltinOperator
TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "int4": schema.TensorType.INT4,
}


DECODED = {
    "int8": (sample("uniform", 8, (3, 8), scale="none", dtype="int8"), "adaptive", "blocks"),
    "palette": (sample("palette", 3, (3, 8), scale="channel"), "rans", "n_of_m"),
    "float16": (sample("float", 19, (3, 8), dtype="float16"), "adaptive", "dense"),
    "float": (sample("float", 20, (3, 8)), "rans", "run_length"),
    "blocks": (sample("uniform", 5, (3, 8), scale="block"), "plain", "n_of_m"),
}


def packed_files() -> dict[str, bytes]:
    """All of them, by name."""
    files = {"convs": convs(), "dense": dense(), "before_conv": before_conv(), "embedding": embedding()}
    return files | {name: added(*weight) for name, weight in DECODED.items()}


def written(weight: Codes | Floats, coder: str, form: str) -> bytes:
    """The payload of a weight by the first plan of this coder and form."""
    return encode_as(weight, next(plan for plan in plans(weight) if (plan.coder, plan.zeros.form) == (coder, form)))


def convs() -> bytes:
    """A conv with its bias inside (adaptive) and one with strides and ReLU6 (rANS)."""
    file = FileBuilder()
    x, y, z = file.tensor([1, 6, 6, 8]), file.tensor([1, 6, 6, 4]), file.tensor([1, 2, 2, 4])
    bias = np.random.default_rng(1).normal(size=4).astype(np.float32)
    payload = encode(sample("uniform", 4, (4, 3, 3, 8), scale="tensor"), bias=bias)
    file.custom("TfcConv2D", [x, file.payload(payload)], y, [1, 1, 0, 1, 1, 1, 1])
    payload = written(sample("ternary", 2, (4, 3, 3, 8), scale="tensor"), "rans", "bitmap")
    file.custom("TfcConv2D", [x, file.payload(payload)], z, [1, 3, 1, 2, 2, 1, 1])
    file.graph.inputs, file.graph.outputs = [x], [y, z]
    return file.finish()


def dense() -> bytes:
    """A dense op (plain palette) with its bias as input."""
    file = FileBuilder()
    x, y = file.tensor([2, 16]), file.tensor([2, 10])
    payload = encode(sample("palette", 4, (10, 16), scale="tensor"), entropy_coded=False)
    file.custom(
        "TfcFullyConnected", [x, file.payload(payload), file.tensor([10], np.ones(10, np.float32))], y, [1, 0, 0]
    )
    file.graph.inputs, file.graph.outputs = [x], [y]
    return file.finish()


def before_conv() -> bytes:
    """TfcDecode before a builtin convolution."""
    file = FileBuilder()
    x, y, filters = file.tensor([1, 5, 5, 4]), file.tensor([1, 5, 5, 6]), file.tensor([6, 3, 3, 4])
    payload = written(sample("power_of_two", 4, (6, 3, 3, 4), scale="channel"), "plain", "run_length")
    file.custom("TfcDecode", [file.payload(payload)], filters, [1])
    file.conv2d([x, filters, file.tensor([6], np.zeros(6, np.float32))], y)
    file.graph.inputs, file.graph.outputs = [x], [y]
    return file.finish()


def added(weight: Codes | Floats, coder: str, form: str) -> bytes:
    """TfcDecode before an addition; DEQUANTIZE stands between where it is not float32."""
    file = FileBuilder()
    addend, value = file.tensor(weight.shape), file.tensor(weight.shape)
    tensor = file.graph.tensors[value]
    tensor.type = TYPES[weight.dtype]
    file.custom("TfcDecode", [file.payload(written(weight, coder, form))], value, [1])
    if weight.dtype != "float32":
        if weight.dtype == "int8":
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.25], [0]
        real = file.tensor(weight.shape)
        op = file.operator(Builtin.DEQUANTIZE, [value], [real])
        op.builtinOptions, op.builtinOptionsType = schema.DequantizeOptionsT(), schema.BuiltinOptions.DequantizeOptions
        value = real
    total = file.tensor(weight.shape)
    op = file.operator(Builtin.ADD, [addend, value], [total])
    op.builtinOptions, op.builtinOptionsType = schema.AddOptionsT(), schema.BuiltinOptions.AddOptions
    file.graph.inputs, file.graph.outputs = [addend], [total]
    return file.finish()


def embedding() -> bytes:
    """Rows of a table of 4 bits, by indices."""
    file = FileBuilder()
    indices, y = file.tensor([1, 3], dtype=np.int32), file.tensor([1, 3, 8])
    payload = encode(sample("uniform", 4, (12, 8), scale="tensor"))
    file.custom("TfcEmbedding", [indices, file.payload(payload)], y, [1])
    file.graph.inputs, file.graph.outputs = [indices], [y]
    return file.finish()
