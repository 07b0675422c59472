"""Packing: constants with structure become payloads, the ops that read them custom ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import Codes, decode, encode
from tfcompress.convert.graph import add_constant, add_tensor, constant, custom_name, load, opcode, save
from tfcompress.convert.reshape import make_reshapes_static
from tfcompress.convert.structure import discover, matches
from tfcompress.errors import PayloadError

__all__ = ["CONV_2D", "DECODE", "DECODE_BYTES", "FULLY_CONNECTED", "PAYLOAD_BYTES", "pack", "payloads"]

CONV_2D, FULLY_CONNECTED, DECODE = "TfcConv2D", "TfcFullyConnected", "TfcDecode"
OPTIONS_VERSION = 1
KERNEL_ACTIVATIONS = {
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
}
# Flatbuffer bytes beside the payload itself, measured: a payload's vector and options in place of
# the constant's, and a TfcDecode with its tensor.
PAYLOAD_BYTES = 24
DECODE_BYTES = 112

Builtin = schema.BuiltinOperator


def pack(tflite: bytes) -> bytes:
    """Packs every constant whose structure is found, wherever that makes the file smaller.

    `CONV_2D` and `FULLY_CONNECTED` with constant float weights become `TfcConv2D` and
    `TfcFullyConnected`; any other op that reads a float constant of rank ≥ 2 gets it through
    `TfcDecode`. Weights stay equal within a relative 1e-6, zeros exactly zero. Packing is
    deterministic; a packed file, or one without structure (int8 constants among them), comes back
    as it is.

    Args:
        tflite: Bytes of any .tflite file.

    Returns:
        Bytes of a .tflite file whose custom ops need the tfcompress delegate.

    Raises:
        InvalidInputError: The bytes are no undamaged .tflite file.
    """
    model = load(tflite)
    packer = _Packer(model)
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

    def __init__(self, model: Any) -> None:
        self.model = model
        self.weights: dict[bytes, np.ndarray] = {}
        self._payloads: dict[tuple[Any, ...], tuple[Codes, bytes] | None] = {}
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
                    decode_op = self._pack_constant(subgraph, index, readers[index])
                    operators += [] if decode_op is None else [decode_op]
            operators.append(operator)
        subgraph.operators = operators

    def _pack_constant(self, subgraph: Any, index: int, readers: list[tuple[Any, int]]) -> Any:
        """Packs one constant for all of its readers; returns the TfcDecode that they need, or None."""
        tensor = subgraph.tensors[index]
        if tensor.type != schema.TensorType.FLOAT32 or tensor.shape is None or len(tensor.shape) < 2:
            return None
        weight = constant(self.model, tensor)
        if weight is None:
            return None
        found = self._payload(tensor.buffer, weight, self._axes(readers))
        if found is None:
            return None
        codes, payload = found
        kernels = [reader for reader in readers if self._kernel(subgraph, *reader, codes)]
        others = len(kernels) < len(readers)
        if len(payload) + PAYLOAD_BYTES + DECODE_BYTES * others >= weight.nbytes:
            return None
        self.weights[payload] = weight
        if payload not in self._buffers:
            self._buffers[payload] = add_constant(self.model, payload)
        source = add_tensor(subgraph, [len(payload)], schema.TensorType.UINT8, self._buffers[payload])
        for operator, _ in kernels:
            self._use_kernel(subgraph, operator, source)
        if not others:
            return None
        tensor.buffer = 0
        decode_op = schema.OperatorT()
        decode_op.inputs, decode_op.outputs = [source], [index]
        self._customize(decode_op, DECODE, [])
        return decode_op

    def _payload(self, buffer: int, weight: np.ndarray, axes: tuple[int, ...]) -> tuple[Codes, bytes] | None:
        key = (buffer, weight.shape, axes)
        if key not in self._payloads:
            codes = discover(weight, axes)
            self._payloads[key] = None if codes is None else (codes, encode(codes))
        return self._payloads[key]

    def _axes(self, readers: list[tuple[Any, int]]) -> tuple[int, ...]:
        """Axes of the output channels, as the readers see them."""
        builtins = {self.model.operatorCodes[operator.opcodeIndex].builtinCode for operator, _ in readers}
        if builtins <= {Builtin.CONV_2D, Builtin.FULLY_CONNECTED, Builtin.GATHER}:
            return (0,)
        return (-1,) if builtins == {Builtin.DEPTHWISE_CONV_2D} else (0, -1)

    def _kernel(self, subgraph: Any, operator: Any, position: int, codes: Codes) -> str | None:
        """Name of the custom op that can take this reader's place, or None."""
        builtin = self.model.operatorCodes[operator.opcodeIndex].builtinCode
        options, rank = operator.builtinOptions, codes.symbols.ndim
        # The body of a loop keeps its float arithmetic: int8 activations would feed their error back.
        if subgraph is not self.model.subgraphs[0]:
            return None
        if position != 1 or codes.channel_axis not in (None, 0) or options is None or len(operator.outputs) != 1:
            return None
        x, y = (subgraph.tensors[int(index)] for index in (operator.inputs[0], operator.outputs[0]))
        if {x.type, y.type} != {schema.TensorType.FLOAT32}:
            return None
        if options.fusedActivationFunction not in KERNEL_ACTIVATIONS:
            return None
        if builtin == Builtin.CONV_2D and rank == 4 and x.shape is not None and len(x.shape) == 4:
            grouped = int(x.shape[3]) != codes.symbols.shape[3]
            return None if grouped or max(_conv_options(options)) > 255 else CONV_2D
        if builtin == Builtin.FULLY_CONNECTED and rank == 2:
            return FULLY_CONNECTED if options.weightsFormat == 0 else None
        return None

    def _use_kernel(self, subgraph: Any, operator: Any, payload: int) -> None:
        options = operator.builtinOptions
        if self.model.operatorCodes[operator.opcodeIndex].builtinCode == Builtin.CONV_2D:
            name, fields = CONV_2D, _conv_options(options)
        else:
            name, fields = FULLY_CONNECTED, [options.fusedActivationFunction, int(options.keepNumDims)]
        inputs = [int(operator.inputs[0]), payload]
        bias = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
        if bias >= 0 and not self._is_zero(subgraph.tensors[bias]):
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
    positions = {CONV_2D: 1, FULLY_CONNECTED: 1, DECODE: 0}
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
        if not matches(decode(payload), weight):
            raise PayloadError(
                "a packed weight must equal the one it stands for",
                f"shape={weight.shape}",
                "Report this model: it is a fault of tfcompress",
            )
    if seen != set(weights):
        raise PayloadError("every payload must be in the finished file", f"{len(seen)} of {len(weights)}")
