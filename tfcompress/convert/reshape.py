"""Reshapes: `[batch, n]` computed while running becomes the constant `[-1, n]`, or goes altogether.

For a Flatten behind a batch of unknown size the converter writes SHAPE, STRIDED_SLICE, PACK and
RESHAPE. RESHAPE infers one -1 itself, so the three ops, their constants and a tensor whose size is
known only while running can go. A fully-connected op flattens its input itself, so before one the
RESHAPE can go, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.convert.graph import add_constant, add_tensor, constant, custom_name

__all__ = ["make_reshapes_static"]

Builtin = schema.BuiltinOperator
DROPPABLE = {Builtin.SHAPE, Builtin.STRIDED_SLICE, Builtin.PACK, Builtin.RESHAPE}


def make_reshapes_static(model: Any, subgraph: Any) -> None:
    """Rewrites one subgraph in place; outputs stay the same for every batch."""
    writers = {int(index): operator for operator in subgraph.operators for index in operator.outputs}
    for operator in subgraph.operators:
        if _builtin(model, operator) != Builtin.RESHAPE or len(operator.inputs) != 2:
            continue
        writer = writers.get(int(operator.inputs[1]))
        if writer is None or _builtin(model, writer) != Builtin.PACK:
            continue
        shape = _static_shape(model, subgraph, writer)
        if shape is not None:
            buffer = add_constant(model, np.array(shape, "<i4").tobytes())
            index = add_tensor(subgraph, [len(shape)], schema.TensorType.INT32, buffer)
            operator.inputs = np.array([operator.inputs[0], index], np.int32)
    _bypass_before_dense(model, subgraph)
    _drop_unread(model, subgraph)


def _bypass_before_dense(model: Any, subgraph: Any) -> None:
    """Lets fully-connected ops read what a RESHAPE reads: their output depends on the number of elements alone."""
    sources = {
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator in subgraph.operators
        if _builtin(model, operator) == Builtin.RESHAPE
    }
    for operator in subgraph.operators:
        if not _flattens(model, operator):
            continue
        inputs = [int(index) for index in operator.inputs]
        while inputs[0] in sources:
            inputs[0] = sources[inputs[0]]
        operator.inputs = np.array(inputs, np.int32)


def _flattens(model: Any, operator: Any) -> bool:
    """Whether an op is fully-connected and gives [rows, outputs] whatever the rank of its input."""
    if custom_name(model, operator) == "TfcFullyConnected":
        return operator.customOptions is not None and len(operator.customOptions) == 3 and not operator.customOptions[2]
    return _builtin(model, operator) == Builtin.FULLY_CONNECTED and not operator.builtinOptions.keepNumDims


def _static_shape(model: Any, subgraph: Any, pack: Any) -> list[int] | None:
    """The packed sizes, with -1 for the only one that is not constant; None when there is no such one."""
    shape = []
    for index in pack.inputs:
        tensor = subgraph.tensors[int(index)]
        value = constant(model, tensor) if tensor.type == schema.TensorType.INT32 else None
        if value is not None and (value.size != 1 or value.item() < 1):
            return None
        shape.append(-1 if value is None else int(value.item()))
    return shape if shape.count(-1) == 1 else None


def _drop_unread(model: Any, subgraph: Any) -> None:
    while True:
        read = {int(index) for operator in subgraph.operators for index in operator.inputs}
        read |= {int(index) for index in subgraph.outputs}
        kept = [
            operator
            for operator in subgraph.operators
            if _builtin(model, operator) not in DROPPABLE or read & {int(i) for i in operator.outputs}
        ]
        if len(kept) == len(subgraph.operators):
            return
        subgraph.operators = kept


def _builtin(model: Any, operator: Any) -> int:
    builtin: int = model.operatorCodes[operator.opcodeIndex].builtinCode
    return builtin
