"""Packing: constants with structure become payloads, the ops that read them custom ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import Codes, Floats, encode, read
from tfcompress.convert.encodings import choose
from tfcompress.convert.graph import add_constant, add_tensor, constant, custom_name, load, opcode, save
from tfcompress.convert.reshape import make_reshapes_static
from tfcompress.convert.structure import matches
from tfcompress.errors import PayloadError

__all__ = ["CONV_2D", "DECODE", "DECODE_BYTES", "EMBEDDING", "FULLY_CONNECTED", "PAYLOAD_BYTES", "pack", "payloads"]

CONV_2D, FULLY_CONNECTED, EMBEDDING, DECODE = "TfcConv2D", "TfcFullyConnected", "TfcEmbedding", "TfcDecode"
OPTIONS_VERSION = 1
KERNEL_ACTIVATIONS = {
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
}
DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT4: "int4",
}
# Flatbuffer bytes beside the payload itself, measured: a payload's vector and options in place of
# the constant's, and a TfcDecode with its tensor.
PAYLOAD_BYTES = 24
DECODE_BYTES = 112
# Weights up to which the packer reads its own payload back by the reference decoder, which is slow.
REFERENCE_SIZE = 1 << 14

Builtin = schema.BuiltinOperator
Reader = tuple[Any, int]


def pack(tflite: bytes, *, smallest: bool = False) -> bytes:
    """Packs every constant for which that makes the file smaller.

    `CONV_2D`, `FULLY_CONNECTED` and embeddings (`GATHER` from a constant table) with float weights that
    have structure become `TfcConv2D`, `TfcFullyConnected` and `TfcEmbedding`; any other op that reads a
    float32, float16, int8 or int4 constant gets it through `TfcDecode`, floats without structure too.
    Integers and floats without structure stay exactly what they were, weights with structure within a
    relative 1e-6, zeros exactly zero. Packing is deterministic; a packed file comes back as it is.

    Args:
        tflite: Bytes of any .tflite file.
        smallest: Try every coder for every weight; slower to pack and to load.

    Returns:
        Bytes of a .tflite file whose custom ops need the tfcompress delegate.

    Raises:
        InvalidInputError: The bytes are no undamaged .tflite file.
    """
    model = load(tflite)
    packer = _Packer(model, smallest)
    for subgraph in model.subgraphs:
        packer.pack(subgraph)
    if not packer.weights:
        return tflite
    for subgraph in model.subgraphs:
        make_reshapes_static(model, subgraph)
    _strip_names(model)
    content = save(model)
    if len(content) >= len(tflite):
        return tflite
    _prove(content, packer.weights)
    return content


class _Packer:
    """One pass over a model; `weights` maps each payload to the weight that it stands for."""

    def __init__(self, model: Any, smallest: bool) -> None:
        self.model, self.smallest = model, smallest
        self.weights: dict[bytes, np.ndarray] = {}
        self._chosen: dict[tuple[Any, ...], Codes | Floats | None] = {}
        self._encoded: dict[tuple[Any, ...], bytes] = {}
        self._buffers: dict[bytes, int] = {}

    def pack(self, subgraph: Any) -> None:
        """Packs one subgraph in place."""
        readers = _readers(subgraph)
        outputs = {int(index) for index in subgraph.outputs}
        operators = []
        done: set[int] = set()
        for operator in subgraph.operators:
            for index in [int(index) for index in operator.inputs]:
                if index in readers and index not in done and index not in outputs:
                    done.add(index)
                    decode_op = self._pack_constant(subgraph, index, readers)
                    operators += [] if decode_op is None else [decode_op]
            operators.append(operator)
        subgraph.operators = operators

    def _pack_constant(self, subgraph: Any, index: int, readers: dict[int, list[Reader]]) -> Any:
        """Packs one constant for all of its readers; returns the TfcDecode that they need, or None."""
        tensor = subgraph.tensors[index]
        if tensor.type not in DTYPES or tensor.shape is None or tensor.isVariable:
            return None
        value = constant(self.model, tensor)
        if value is None:
            return None
        axes = self._axes(readers[index])
        weight = self._choice(tensor, value, axes)
        if weight is None:
            return None
        kernels = [reader for reader in readers[index] if self._kernel(subgraph, *reader, weight)]
        others = len(kernels) < len(readers[index])
        bias = -1
        if len(kernels) == 1 and not others:
            bias = self._inner_bias(subgraph, kernels[0][0], readers)
        key = (tensor.buffer, tensor.type, value.shape, axes)
        payload = self._payload(key, weight, None if bias < 0 else constant(self.model, subgraph.tensors[bias]))
        saved = 0 if bias < 0 else 4 * weight.shape[0]
        if len(payload) - saved + PAYLOAD_BYTES + DECODE_BYTES * others >= _stored_bytes(tensor, value):
            return None
        self.weights[payload] = value
        if payload not in self._buffers:
            self._buffers[payload] = add_constant(self.model, payload)
        source = add_tensor(subgraph, [len(payload)], schema.TensorType.UINT8, self._buffers[payload])
        for operator, _ in kernels:
            self._use_kernel(subgraph, operator, source, bias)
        if not others:
            return None
        tensor.buffer = 0
        decode_op = schema.OperatorT()
        decode_op.inputs, decode_op.outputs = [source], [index]
        self._customize(decode_op, DECODE, [])
        return decode_op

    def _choice(self, tensor: Any, value: np.ndarray, axes: tuple[int, ...]) -> Codes | Floats | None:
        key = (tensor.buffer, tensor.type, value.shape, axes)
        if key not in self._chosen:
            # No payload of so few weights is smaller than they are.
            few = _stored_bytes(tensor, value) <= PAYLOAD_BYTES + 16
            self._chosen[key] = None if few else choose(value, DTYPES[tensor.type], axes)
        return self._chosen[key]

    def _payload(self, key: tuple[Any, ...], weight: Codes | Floats, bias: np.ndarray | None) -> bytes:
        key = (*key, None if bias is None else bias.tobytes())
        if key not in self._encoded:
            self._encoded[key] = encode(weight, bias=bias, smallest=self.smallest)
        return self._encoded[key]

    def _inner_bias(self, subgraph: Any, operator: Any, readers: dict[int, list[Reader]]) -> int:
        """The tensor of a bias that can travel inside the payload, or -1."""
        builtin = self.model.operatorCodes[operator.opcodeIndex].builtinCode
        index = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
        if index < 0 or builtin not in (Builtin.CONV_2D, Builtin.FULLY_CONNECTED) or len(readers[index]) > 1:
            return -1
        tensor = subgraph.tensors[index]
        value = constant(self.model, tensor) if tensor.type == schema.TensorType.FLOAT32 else None
        return index if value is not None and value.any() else -1

    def _axes(self, readers: list[tuple[Any, int]]) -> tuple[int, ...]:
        """Axes of the output channels, as the readers see them."""
        builtins = {self.model.operatorCodes[operator.opcodeIndex].builtinCode for operator, _ in readers}
        if builtins <= {Builtin.CONV_2D, Builtin.FULLY_CONNECTED, Builtin.GATHER}:
            return (0,)
        return (-1,) if builtins == {Builtin.DEPTHWISE_CONV_2D} else (0, -1)

    def _kernel(self, subgraph: Any, operator: Any, position: int, weight: Codes | Floats) -> str | None:
        """Name of the custom op that can take this reader's place, or None."""
        if not isinstance(weight, Codes) or weight.dtype != "float32" or weight.block or len(operator.outputs) != 1:
            return None
        if weight.channel_axis not in (None, 0):
            return None
        builtin = self.model.operatorCodes[operator.opcodeIndex].builtinCode
        if builtin in (Builtin.GATHER, Builtin.EMBEDDING_LOOKUP):
            return EMBEDDING if _is_embedding(subgraph, operator, builtin, position) else None
        options, rank = operator.builtinOptions, weight.symbols.ndim
        # The body of a loop keeps its float arithmetic: int8 activations would feed their error back.
        if position != 1 or options is None or subgraph is not self.model.subgraphs[0]:
            return None
        x, y = (subgraph.tensors[int(index)] for index in (operator.inputs[0], operator.outputs[0]))
        if {x.type, y.type} != {schema.TensorType.FLOAT32}:
            return None
        if getattr(options, "fusedActivationFunction", None) not in KERNEL_ACTIVATIONS:
            return None
        if builtin == Builtin.CONV_2D and rank == 4 and x.shape is not None and len(x.shape) == 4:
            grouped = int(x.shape[3]) != weight.symbols.shape[3]
            return None if grouped or max(_conv_options(options)) > 255 else CONV_2D
        if builtin == Builtin.FULLY_CONNECTED and rank == 2:
            return FULLY_CONNECTED if options.weightsFormat == 0 else None
        return None

    def _use_kernel(self, subgraph: Any, operator: Any, payload: int, inner_bias: int) -> None:
        options = operator.builtinOptions
        builtin = self.model.operatorCodes[operator.opcodeIndex].builtinCode
        if builtin in (Builtin.GATHER, Builtin.EMBEDDING_LOOKUP):
            indices = int(operator.inputs[1 if builtin == Builtin.GATHER else 0])
            operator.inputs = [indices, payload]
            self._customize(operator, EMBEDDING, [])
            return
        if builtin == Builtin.CONV_2D:
            name, fields = CONV_2D, _conv_options(options)
        else:
            name, fields = FULLY_CONNECTED, [options.fusedActivationFunction, int(options.keepNumDims)]
        inputs = [int(operator.inputs[0]), payload]
        bias = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
        if bias not in (-1, inner_bias) and not self._is_zero(subgraph.tensors[bias]):
            inputs.append(bias)
        operator.inputs = inputs
        self._customize(operator, name, fields)

    def _is_zero(self, tensor: Any) -> bool:
        value = constant(self.model, tensor)
        return value is not None and not value.any()

    def _customize(self, operator: Any, name: str, fields: list[int]) -> None:
        operator.opcodeIndex = opcode(self.model, Builtin.CUSTOM, name)
        operator.builtinOptions, operator.builtinOptionsType = None, schema.BuiltinOptions.NONE
        operator.customOptions = np.array([OPTIONS_VERSION, *fields], np.uint8)


def _stored_bytes(tensor: Any, value: np.ndarray) -> int:
    return -(-value.size // 2) if tensor.type == schema.TensorType.INT4 else value.nbytes


def _is_embedding(subgraph: Any, operator: Any, builtin: int, position: int) -> bool:
    """Whether an op gathers whole rows of its constant by int32 indices into float32."""
    gathers = builtin == Builtin.GATHER
    if position != (0 if gathers else 1) or len(operator.inputs) != 2:
        return False
    options = operator.builtinOptions
    if gathers and options is not None and (options.axis or options.batchDims):
        return False
    indices = subgraph.tensors[int(operator.inputs[1 if gathers else 0])]
    output = subgraph.tensors[int(operator.outputs[0])]
    return bool(indices.type == schema.TensorType.INT32 and output.type == schema.TensorType.FLOAT32)


def _conv_options(options: Any) -> list[int]:
    return [
        options.fusedActivationFunction,
        options.padding,
        options.strideH,
        options.strideW,
        options.dilationHFactor,
        options.dilationWFactor,
    ]


def _readers(subgraph: Any) -> dict[int, list[tuple[Any, int]]]:
    """For each tensor the ops that read it, with the input's position."""
    readers: dict[int, list[tuple[Any, int]]] = {}
    for operator in subgraph.operators:
        for position, index in enumerate(operator.inputs):
            if index >= 0:
                readers.setdefault(int(index), []).append((operator, position))
    return readers


def _strip_names(model: Any) -> None:
    """Drops every name but those of signatures and of the model's inputs and outputs."""
    model.description = None
    for position, subgraph in enumerate(model.subgraphs):
        public: set[int] = {int(index) for index in (*subgraph.inputs, *subgraph.outputs)} if position == 0 else set()
        subgraph.name = None
        for index, tensor in enumerate(subgraph.tensors):
            if index not in public:
                tensor.name = None


def payloads(model: Any) -> Iterator[tuple[Any, Any, bytes]]:
    """Every (subgraph, custom op, payload) of a packed model.

    Raises:
        PayloadError: One of our ops has no constant payload.
    """
    positions = {CONV_2D: 1, FULLY_CONNECTED: 1, EMBEDDING: 1, DECODE: 0}
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            name = custom_name(model, operator)
            if name not in positions:
                continue
            inputs, outputs = operator.inputs[: positions[name] + 1], operator.outputs
            if len(inputs) <= positions[name] or len(outputs) != 1 or min(*inputs, *outputs) < 0:
                raise PayloadError(
                    f"{name} must have {positions[name] + 1} or more inputs and one output",
                    f"{len(operator.inputs)} inputs, {len(outputs)} outputs",
                    "Pack the model anew",
                )
            tensor = subgraph.tensors[int(inputs[-1])]
            value = constant(model, tensor) if tensor.type == schema.TensorType.UINT8 else None
            if value is None:
                raise PayloadError(f"{name} must read a constant payload", "none", "Pack the model anew")
            yield subgraph, operator, value.tobytes()


def _prove(content: bytes, weights: dict[bytes, np.ndarray]) -> None:
    """Reads the finished file back and compares every weight with the one that was packed.

    Raises:
        PayloadError: A weight does not come back.
    """
    seen = set()
    for _, _, payload in payloads(load(content)):
        if payload in seen:
            continue
        seen.add(payload)
        weight = weights[payload]
        held = read(payload, reference=weight.size <= REFERENCE_SIZE).weight
        exact = weight.dtype != np.float32 or isinstance(held, Floats)
        if not (np.array_equal(held.tensor().reshape(weight.shape), weight) if exact else matches(held, weight)):
            raise PayloadError(
                "a packed weight must equal the one it stands for",
                f"shape={weight.shape}",
                "Report this model: it is a fault of tfcompress",
            )
    if seen != set(weights):
        raise PayloadError("every payload must be in the finished file", f"{len(seen)} of {len(weights)}")
