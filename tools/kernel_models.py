"""One-layer .tflite files, written without a converter: what the native kernels are compared with."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Array = np.ndarray


def float_conv(size: int, kernel: int, ins: int, outs: int) -> bytes:
    """A float convolution of a square map with SAME padding, bias and ReLU."""
    weights = np.random.default_rng(0).standard_normal((outs, kernel, kernel, ins), dtype=np.float32)
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    x, y = [1, size, size, ins], [1, size, size, outs]
    operator = schema.BuiltinOperator.CONV_2D
    return _model(operator, schema.BuiltinOptions.Conv2DOptions, options, x, _constant(weights), y)


def int4_dense(rows: int, ins: int, outs: int) -> bytes:
    """A dense layer of float activations and per-channel int4 weights, with bias and ReLU (XNNPACK's qd8-qc4w)."""
    codes = np.random.default_rng(0).integers(-7, 8, (outs, ins))
    nibbles = (codes & 15).astype(np.uint8).reshape(-1, 2)
    weight = _constant(nibbles[:, 0] | nibbles[:, 1] << 4, schema.TensorType.INT4, [outs, ins])
    return _quantized_dense(rows, ins, outs, weight)


def int8_dense(rows: int, ins: int, outs: int) -> bytes:
    """A dense layer of float activations and per-channel int8 weights, with bias and ReLU (XNNPACK's qd8-qc8w)."""
    codes = np.random.default_rng(0).integers(-127, 128, (outs, ins), dtype=np.int8)
    return _quantized_dense(rows, ins, outs, _constant(codes, schema.TensorType.INT8, [outs, ins]))


def float_depthwise(size: int, kernel: int, channels: int, stride: int) -> bytes:
    """A float depthwise convolution of a square map with SAME padding, bias and ReLU."""
    weights = np.random.default_rng(0).standard_normal((1, kernel, kernel, channels), dtype=np.float32)
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.SAME
    options.strideH = options.strideW = stride
    options.dilationHFactor = options.dilationWFactor = options.depthMultiplier = 1
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    out = -(-size // stride)
    x, y = [1, size, size, channels], [1, out, out, channels]
    operator = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    return _model(operator, schema.BuiltinOptions.DepthwiseConv2DOptions, options, x, _constant(weights), y)


def _quantized_dense(rows: int, ins: int, outs: int, weight: tuple) -> bytes:
    quantization = schema.QuantizationParametersT()
    quantization.scale = np.full(outs, 0.01, np.float32)
    quantization.zeroPoint = np.zeros(outs, np.int64)
    weight[0].quantization = quantization
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    options.asymmetricQuantizeInputs = True
    operator = schema.BuiltinOperator.FULLY_CONNECTED
    x, y = [rows, ins], [rows, outs]
    return _model(operator, schema.BuiltinOptions.FullyConnectedOptions, options, x, weight, y)


def _constant(values: Array, kind: int = schema.TensorType.FLOAT32, shape: list[int] | None = None):
    tensor = _tensor(list(values.shape) if shape is None else shape)
    tensor.type = kind
    buffer = schema.BufferT()
    buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return tensor, buffer


def _tensor(shape: list[int]) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.shape = shape
    tensor.type = schema.TensorType.FLOAT32
    tensor.buffer = 0
    return tensor


def _model(operator: int, kind: int, options: object, x: list[int], weight: tuple, y: list[int]) -> bytes:
    """A file of one op with inputs x, weight and a bias."""
    bias = _constant(np.full(y[-1], 0.1, np.float32))
    constants = [weight, bias]
    for index, (tensor, _) in enumerate(constants, start=1):
        tensor.buffer = index
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(x), *(tensor for tensor, _ in constants), _tensor(y)]
    graph.inputs, graph.outputs = [0], [3]
    node = schema.OperatorT()
    node.opcodeIndex = 0
    node.inputs, node.outputs = [0, 1, 2], [3]
    node.builtinOptionsType, node.builtinOptions = kind, options
    graph.operators = [node]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    code.version = 9 if operator == schema.BuiltinOperator.FULLY_CONNECTED else 1  # the first that knows int4
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.buffers = [schema.BufferT(), *(buffer for _, buffer in constants)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
