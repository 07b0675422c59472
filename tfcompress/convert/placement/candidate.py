"""An op that one of our kernels can compute in the place of a stock one."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import Codes, Floats
from tfcompress.convert.custom_ops import (
    BINARY_CONV_2D,
    BINARY_FULLY_CONNECTED,
    CONV_2D,
    DEPTHWISE_CONV_2D,
    FULLY_CONNECTED,
)
from tfcompress.convert.graph import load, save
from tfcompress.convert.placement.signs import reads_signs

__all__ = ["Candidate", "candidate"]

KERNEL_ACTIVATIONS = {
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
}
Builtin = schema.BuiltinOperator
OF_SIGNS = {CONV_2D: BINARY_CONV_2D, FULLY_CONNECTED: BINARY_FULLY_CONNECTED}


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A convolution or dense layer whose weight has codes.

    Attributes:
        name: Our op, such as "TfcConv2D".
        fields: Its options after the version.
        x_shape: Shape of the activations that it reads, as the file has it; one row where it does not tell.
        y_shape: Shape of what it computes.
        weight: The weight's codes, in TFLite's layout.
    """

    name: str
    fields: tuple[int, ...]
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    weight: Codes
    _model: Any
    _subgraph: Any
    _operator: Any

    def alone(self) -> bytes:
        """A float .tflite file of this op and nothing else."""
        source = self._operator
        outs = self.weight.symbols.shape[3 if self.name == DEPTHWISE_CONV_2D else 0]
        model, graph, operator = schema.ModelT(), schema.SubGraphT(), copy.copy(source)
        model.version, model.buffers, graph.tensors = 3, [schema.BufferT()], []
        for position, index in enumerate((*source.inputs, *source.outputs)):
            tensor = copy.copy(self._subgraph.tensors[int(index)])
            data = self._model.buffers[tensor.buffer].data
            is_bias = position == 2 and len(source.inputs) > 2
            if is_bias and (index < 0 or data is None):
                # None, or what a TfcDecode computes by now: zeros take the same time.
                tensor = schema.TensorT()
                tensor.shape, tensor.type = np.array([outs], np.int32), schema.TensorType.FLOAT32
                data = np.zeros(4 * outs, np.uint8)
            if position in (0, len(source.inputs)):
                tensor.shape = np.array(self.y_shape if position else self.x_shape, np.int32)
                tensor.shapeSignature = None
            tensor.name, tensor.buffer = None, 0
            if data is not None:
                tensor.buffer = len(model.buffers)
                model.buffers.append(schema.BufferT())
                model.buffers[-1].data = data
            graph.tensors.append(tensor)
        last = len(graph.tensors) - 1
        graph.inputs, graph.outputs = np.array([0], np.int32), np.array([last], np.int32)
        operator.opcodeIndex = 0
        operator.inputs, operator.outputs = np.arange(last, dtype=np.int32), np.array([last], np.int32)
        graph.operators, model.subgraphs = [operator], [graph]
        model.operatorCodes = [copy.copy(self._model.operatorCodes[source.opcodeIndex])]
        return save(model)

    def alone_by_kernel(self, pack: Callable[[bytes], bytes]) -> bytes | None:
        """The same file with our op; None where packing would not make it smaller.

        Args:
            pack: Packs a float file for our kernels.
        """
        plain = self.alone()
        content = pack(plain)
        if content == plain:
            return None
        if self.name not in OF_SIGNS.values():
            return content
        model = load(content)  # which does not see any more that x is signs
        for code in model.operatorCodes:
            code.customCode = self.name if code.customCode else code.customCode
        return save(model)


def candidate(model: Any, subgraph: Any, operator: Any, position: int, weight: Codes | Floats) -> Candidate | None:
    """The reader of a weight as an op of ours; None for one that no kernel computes."""
    if not isinstance(weight, Codes) or weight.dtype != "float32" or weight.block or len(operator.outputs) != 1:
        return None
    options, shape = operator.builtinOptions, weight.symbols.shape
    if position != 1 or options is None:
        return None
    x, y = (subgraph.tensors[int(index)] for index in (operator.inputs[0], operator.outputs[0]))
    if {x.type, y.type} != {schema.TensorType.FLOAT32}:
        return None
    if getattr(options, "fusedActivationFunction", None) not in KERNEL_ACTIVATIONS:
        return None
    x_shape, y_shape = (() if each.shape is None else tuple(int(size) for size in each.shape) for each in (x, y))
    builtin = model.operatorCodes[operator.opcodeIndex].builtinCode
    name: str | None = None
    fields: tuple[int, ...] = ()
    by_rows = weight.channel_axis in (None, 0)
    if builtin == Builtin.CONV_2D and by_rows and len(shape) == len(x_shape) == 4:
        fields = _conv_fields(options)
        grouped = x_shape[3] != shape[3]
        name = None if grouped or max(fields) > 255 else CONV_2D
    elif builtin == Builtin.DEPTHWISE_CONV_2D and len(shape) == len(x_shape) == 4 and shape[0] == 1:
        multiplier, rest = divmod(shape[3], max(1, x_shape[3]))
        fields = (*_conv_fields(options), multiplier)
        fits = weight.channel_axis in (None, 3) and not rest and 1 <= min(fields[2:]) and max(fields) <= 255
        name = DEPTHWISE_CONV_2D if fits else None
    elif builtin == Builtin.FULLY_CONNECTED and by_rows and len(shape) == 2 and options.weightsFormat == 0:
        name, fields = FULLY_CONNECTED, (options.fusedActivationFunction, int(options.keepNumDims))
    if name is None:
        return None
    if name == FULLY_CONNECTED and math.prod(x_shape) % shape[1]:
        # The file does not know the number of rows.
        x_shape, y_shape = (1, shape[1]), (1, shape[0])
    if name in OF_SIGNS and weight.encoding == "binary" and reads_signs(model, subgraph, operator):
        name = OF_SIGNS[name]
    return Candidate(name, fields, x_shape, y_shape, weight, model, subgraph, operator)


def _conv_fields(options: Any) -> tuple[int, ...]:
    return (
        options.fusedActivationFunction,
        options.padding,
        options.strideH,
        options.strideW,
        options.dilationHFactor,
        options.dilationWFactor,
    )
