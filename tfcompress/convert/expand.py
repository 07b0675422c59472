"""Expanding: custom ops become builtin ops with float weights again."""

from __future__ import annotations

import math
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import decode
from tfcompress.convert.graph import add_constant, add_tensor, custom_name, load, opcode, save
from tfcompress.convert.pack import CONV_2D, DECODE, payloads
from tfcompress.errors import PayloadError

__all__ = ["expand"]

Builtin = schema.BuiltinOperator


def expand(packed: bytes) -> bytes:
    """Turns a packed file into one that any TFLite runtime runs, with exactly the same weights.

    `pack(expand(p)) == p`, byte for byte; a file without our ops comes back as it is.

    Args:
        packed: Bytes of a .tflite file.

    Raises:
        InvalidInputError: The bytes are no undamaged .tflite file.
        PayloadError: A payload is damaged, or an op does not fit its payload.
    """
    model = load(packed)
    expander = _Expander(model)
    found = list(payloads(model))
    # What a TfcDecode wrote first: its output tensor then also serves the kernels on that payload.
    for subgraph, operator, payload in sorted(found, key=lambda each: custom_name(model, each[1]) != DECODE):
        expander.expand(subgraph, operator, payload)
    if not found:
        return packed
    for subgraph in model.subgraphs:
        subgraph.operators = [each for each in subgraph.operators if custom_name(model, each) != DECODE]
    return save(model)


class _Expander:
    """Replaces ops in place; a payload is decoded once and its weight shared."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._weights: dict[bytes, tuple[tuple[int, ...], int]] = {}
        self._tensors: dict[tuple[int, bytes], int] = {}

    def expand(self, subgraph: Any, operator: Any, payload: bytes) -> None:
        """Expands one op; a TfcDecode itself is left for the caller to remove."""
        name = custom_name(self.model, operator)
        if payload not in self._weights:
            weight = decode(payload).weight()
            self._weights[payload] = (weight.shape, add_constant(self.model, weight.astype("<f4").tobytes()))
        shape, buffer = self._weights[payload]
        key = (id(subgraph), payload)
        if name == DECODE:
            index = int(operator.outputs[0])
            tensor = subgraph.tensors[index]
            own = () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
            _require(math.prod(own) == math.prod(shape), name, f"an output of {math.prod(shape)} elements", own)
            tensor.buffer = buffer
            if own == shape:
                self._tensors.setdefault(key, index)
            return
        if key not in self._tensors:
            self._tensors[key] = add_tensor(subgraph, shape, schema.TensorType.FLOAT32, buffer)
        self._restore(subgraph, operator, shape, self._tensors[key])

    def _restore(self, subgraph: Any, operator: Any, shape: tuple[int, ...], weight: int) -> None:
        name = custom_name(self.model, operator)
        fields = [] if operator.customOptions is None else [int(field) for field in operator.customOptions]
        if name == CONV_2D:
            _require(len(fields) == 7 and fields[0] == 1, name, "7 options of version 1", fields)
            _require(len(shape) == 4, name, "a weight of rank 4", shape)
            builtin, version, options = Builtin.CONV_2D, 1, _conv_options(fields)
            type_ = schema.BuiltinOptions.Conv2DOptions
        else:
            _require(len(fields) == 3 and fields[0] == 1, name, "3 options of version 1", fields)
            _require(len(shape) == 2, name, "a weight of rank 2", shape)
            options = schema.FullyConnectedOptionsT()
            options.fusedActivationFunction, options.keepNumDims = fields[1], bool(fields[2])
            # keep_num_dims came with version 5 of the op.
            builtin, version = Builtin.FULLY_CONNECTED, 5 if options.keepNumDims else 1
            type_ = schema.BuiltinOptions.FullyConnectedOptions
        bias = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
        if bias < 0:
            zeros = add_constant(self.model, bytes(4 * shape[0]))
            bias = add_tensor(subgraph, [shape[0]], schema.TensorType.FLOAT32, zeros)
        operator.inputs = [int(operator.inputs[0]), weight, bias]
        operator.opcodeIndex = opcode(self.model, builtin, version=version)
        operator.builtinOptions, operator.builtinOptionsType = options, type_
        operator.customOptions = None


def _conv_options(fields: list[int]) -> Any:
    options = schema.Conv2DOptionsT()
    options.fusedActivationFunction, options.padding = fields[1:3]
    options.strideH, options.strideW, options.dilationHFactor, options.dilationWFactor = fields[3:]
    return options


def _require(good: bool, name: str | None, what: str, received: object) -> None:
    if not good:
        raise PayloadError(f"{name} must have {what}", f"{received}", "Pack the model anew")
