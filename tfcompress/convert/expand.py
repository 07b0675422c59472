"""Expanding: custom ops become builtin ops with plain weights again."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import Payload, read
from tfcompress.convert.custom_ops import (
    BINARY_CONV_2D,
    CONV_2D,
    DECODE,
    DEPTHWISE_CONV_2D,
    EMBEDDING,
    check_op,
    options_of,
    payloads,
)
from tfcompress.convert.graph import add_constant, add_tensor, custom_name, load, opcode, save, stored
from tfcompress.convert.placement.record import forget

__all__ = ["expand"]

Builtin = schema.BuiltinOperator


def expand(packed: bytes) -> bytes:
    """Turns a packed file into one that any TFLite runtime runs, with exactly the same weights.

    `pack(expand(p)) == p`, byte for byte, where `p` was not tuned; a file without our ops comes back as it is.

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
    forget(model)
    return save(model)


class _Expander:
    """Replaces ops in place; a payload is decoded once and its weight shared."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._held: dict[bytes, Payload] = {}
        self._weights: dict[tuple[bytes, int], int] = {}
        self._tensors: dict[tuple[int, bytes], int] = {}

    def expand(self, subgraph: Any, operator: Any, payload: bytes) -> None:
        """Expands one op; a TfcDecode itself is left for the caller to remove."""
        if payload not in self._held:
            self._held[payload] = read(payload)
        held = self._held[payload]
        check_op(self.model, subgraph, operator, held)
        shape, key = held.weight.shape, (id(subgraph), payload)
        if custom_name(self.model, operator) == DECODE:
            index = int(operator.outputs[0])
            tensor = subgraph.tensors[index]
            tensor.buffer = self._buffer(payload, tensor.type)
            own = () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
            if own == shape and tensor.type == schema.TensorType.FLOAT32:
                self._tensors.setdefault(key, index)
            return
        if key not in self._tensors:
            float32 = schema.TensorType.FLOAT32
            self._tensors[key] = add_tensor(subgraph, shape, float32, self._buffer(payload, float32))
        self._restore(subgraph, operator, held, self._tensors[key])

    def _buffer(self, payload: bytes, type_: int) -> int:
        """Number of the buffer that holds the decoded weight."""
        if (payload, type_) not in self._weights:
            values = self._held[payload].weight.tensor()
            self._weights[payload, type_] = add_constant(self.model, stored(values, type_))
        return self._weights[payload, type_]

    def _restore(self, subgraph: Any, operator: Any, held: Payload, weight: int) -> None:
        name = custom_name(self.model, operator)
        fields = options_of(self.model, operator)
        version = 1
        if name == EMBEDDING:
            builtin, options, type_ = Builtin.GATHER, schema.GatherOptionsT(), schema.BuiltinOptions.GatherOptions
            operator.inputs = [weight, int(operator.inputs[0])]
        else:
            operator.inputs = [int(operator.inputs[0]), weight, self._bias(subgraph, operator, held)]
            if name in (CONV_2D, BINARY_CONV_2D):
                builtin, options = Builtin.CONV_2D, _conv_options(schema.Conv2DOptionsT(), fields)
                type_ = schema.BuiltinOptions.Conv2DOptions
            elif name == DEPTHWISE_CONV_2D:
                options = _conv_options(schema.DepthwiseConv2DOptionsT(), fields)
                options.depthMultiplier = fields["multiplier"]
                builtin, type_ = Builtin.DEPTHWISE_CONV_2D, schema.BuiltinOptions.DepthwiseConv2DOptions
                version = 2 if max(fields["dilation_h"], fields["dilation_w"]) > 1 else 1  # dilations came with 2
            else:
                options = schema.FullyConnectedOptionsT()
                options.fusedActivationFunction, options.keepNumDims = (
                    fields["activation"],
                    bool(fields["keep_num_dims"]),
                )
                builtin, type_ = Builtin.FULLY_CONNECTED, schema.BuiltinOptions.FullyConnectedOptions
                version = 5 if options.keepNumDims else 1  # keep_num_dims came with version 5 of the op
        operator.opcodeIndex = opcode(self.model, builtin, version=version)
        operator.builtinOptions, operator.builtinOptionsType = options, type_
        operator.customOptions = None

    def _bias(self, subgraph: Any, operator: Any, held: Payload) -> int:
        """The tensor of the op's bias: its own input, the one inside the payload, or zeros."""
        index = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
        if index >= 0:
            return index
        outputs = held.weight.shape[3 if custom_name(self.model, operator) == DEPTHWISE_CONV_2D else 0]
        bias = np.zeros(outputs, np.float32) if held.bias is None else held.bias
        buffer = add_constant(self.model, bias.astype("<f4").tobytes())
        return add_tensor(subgraph, [outputs], schema.TensorType.FLOAT32, buffer)


def _conv_options(options: Any, fields: dict[str, int]) -> Any:
    options.fusedActivationFunction, options.padding = fields["activation"], fields["padding"]
    options.strideH, options.strideW = fields["stride_h"], fields["stride_w"]
    options.dilationHFactor, options.dilationWFactor = fields["dilation_h"], fields["dilation_w"]
    return options
