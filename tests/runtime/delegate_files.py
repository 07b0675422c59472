"""Hand-built `.tflite` files with our custom ops, and the payloads in them."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import Codes, Floats, encode

NONE, RELU, RELU6 = 0, 1, 3
SAME, VALID = 0, 1
TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.bool_): schema.TensorType.BOOL,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
}


class FileBuilder:
    """A file built op by op; tensors are named by their index in the current subgraph."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.operatorCodes = []
        self.model.buffers = [schema.BufferT()]
        self.model.subgraphs = []
        self.start_subgraph()

    def start_subgraph(self) -> None:
        """Makes a new subgraph the current one; the first is the main one."""
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs.append(self.graph)

    def tensor(self, shape, data: np.ndarray | None = None, *, batch: bool = False, dtype=np.float32) -> int:
        """Adds a tensor, constant with `data`; `batch` makes the first dimension resizable."""
        tensor = schema.TensorT()
        tensor.shape = list(shape)
        tensor.type = TYPES[np.dtype(dtype) if data is None else data.dtype]
        tensor.name = f"t{len(self.graph.tensors)}".encode()
        if batch:
            tensor.shapeSignature = [-1, *shape[1:]]
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def quantize(self, index: int, scale, zero_point: int = 0, axis: int = 0) -> None:
        """Gives a tensor its scales, one or one per index along `axis`."""
        quantization = schema.QuantizationParametersT()
        quantization.scale = np.atleast_1d(scale).tolist()
        quantization.zeroPoint = [zero_point] * len(quantization.scale)
        quantization.quantizedDimension = axis
        self.graph.tensors[index].quantization = quantization

    def payload(self, payload: bytes) -> int:
        """Adds a constant that holds a payload."""
        return self.tensor([len(payload)], np.frombuffer(payload, np.uint8))

    def custom(self, name: str, inputs: list[int], output: int, options: list[int]) -> None:
        """Adds one of our ops."""
        op = self.operator(schema.BuiltinOperator.CUSTOM, inputs, [output], name)
        op.customOptions = list(options)

    def conv2d(self, inputs: list[int], output: int, padding: int = SAME) -> None:
        """Adds a builtin CONV_2D with strides of 1."""
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = padding, 1, 1
        op = self.operator(schema.BuiltinOperator.CONV_2D, inputs, [output])
        op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options

    def operator(self, code: int, inputs: list[int], outputs: list[int], name: str = "") -> schema.OperatorT:
        """Adds any op; `name` is a custom op's."""
        operator_code = schema.OperatorCodeT()
        operator_code.builtinCode = code
        operator_code.deprecatedBuiltinCode = min(code, 127)
        operator_code.version = 1
        if name:
            operator_code.customCode = name.encode()
        self.model.operatorCodes.append(operator_code)
        op = schema.OperatorT()
        op.opcodeIndex = len(self.model.operatorCodes) - 1
        op.inputs, op.outputs = list(inputs), list(outputs)
        self.graph.operators.append(op)
        return op

    def finish(self) -> bytes:
        """The bytes of the file."""
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def random_codes(shape, *, seed: int = 0, num_bits: int = 4, palette: bool = False, axis: int | None = 0) -> Codes:
    """A weight of random symbols, half of them zero."""
    random = np.random.default_rng(seed)
    codebook = None
    if palette:
        codebook = np.unique(np.append(random.normal(size=2**num_bits - 1), 0)).astype(np.float32)
    symbols = random.integers(0, 2**num_bits if codebook is None else codebook.size, shape).astype(np.uint8)
    zero = 1 << (num_bits - 1) if codebook is None else int(np.flatnonzero(codebook == 0)[0])
    symbols[random.random(shape) < 0.5] = zero
    scale = random.uniform(0.05, 0.2, 1 if axis is None else shape[axis]).astype(np.float32)
    return Codes(symbols, num_bits, scale, axis, codebook)


def conv_file(
    codes: Codes | Floats,
    image,
    *,
    bias: np.ndarray | None = None,
    inner_bias: np.ndarray | None = None,
    options=(1, NONE, SAME, 1, 1, 1, 1),
) -> bytes:
    """x -> TfcConv2D -> y."""
    file = FileBuilder()
    x = file.tensor([1, *image], batch=True)
    inputs = [x, file.payload(encode(codes, bias=inner_bias))]
    if bias is not None:
        inputs.append(file.tensor(bias.shape, bias))
    y = file.tensor([1, *image[:2], codes.shape[0]], batch=True)
    file.custom("TfcConv2D", inputs, y, list(options))
    file.graph.inputs, file.graph.outputs = [x], [y]
    return file.finish()


def dense_file(
    codes: Codes | Floats,
    *,
    bias: np.ndarray | None = None,
    inner_bias: np.ndarray | None = None,
    activation: int = NONE,
    missing: bool = False,
) -> bytes:
    """x -> TfcFullyConnected -> y; `missing` gives a bias of index -1."""
    file = FileBuilder()
    x = file.tensor([1, codes.shape[1]], batch=True)
    inputs = [x, file.payload(encode(codes, bias=inner_bias))]
    if bias is not None:
        inputs.append(file.tensor(bias.shape, bias))
    elif missing:
        inputs.append(-1)
    y = file.tensor([1, codes.shape[0]], batch=True)
    file.custom("TfcFullyConnected", inputs, y, [1, activation, 0])
    file.graph.inputs, file.graph.outputs = [x], [y]
    return file.finish()


def decode_conv_file(codes: Codes, image, *, times: int = 1, entropy_coded: bool = True) -> bytes:
    """x -> (TfcDecode -> CONV_2D) -> ... -> y, `times` convolutions in a row with one weight each."""
    payload = encode(codes, entropy_coded=entropy_coded)
    file = FileBuilder()
    x = file.tensor([1, *image], batch=True)
    y = x
    for _ in range(times):
        weight = file.tensor(codes.symbols.shape)
        file.custom("TfcDecode", [file.payload(payload)], weight, [1])
        bias = file.tensor([codes.symbols.shape[0]], np.zeros(codes.symbols.shape[0], np.float32))
        before, y = y, file.tensor([1, *image[:2], codes.symbols.shape[0]], batch=True)
        file.conv2d([before, weight, bias], y)
    file.graph.inputs, file.graph.outputs = [x], [y]
    return file.finish()


def plain_conv_file(weight: np.ndarray, image, *, times: int = 1) -> bytes:
    """The file of `decode_conv_file` with its weights stored as float."""
    file = FileBuilder()
    x = file.tensor([1, *image], batch=True)
    y = x
    for _ in range(times):
        filters = file.tensor(weight.shape, weight)
        bias = file.tensor([weight.shape[0]], np.zeros(weight.shape[0], np.float32))
        before, y = y, file.tensor([1, *image[:2], weight.shape[0]], batch=True)
        file.conv2d([before, filters, bias], y)
    file.graph.inputs, file.graph.outputs = [x], [y]
    return file.finish()
