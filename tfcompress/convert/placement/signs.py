"""Whether what an op reads are signs: -1 or 1, as `BinaryActivation` computes them."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfcompress.convert.graph import constant

__all__ = ["reads_signs"]

Builtin = schema.BuiltinOperator
# Ops whose output holds nothing but values of their first input.
MOVES = {Builtin.RESHAPE, Builtin.MAX_POOL_2D, Builtin.TRANSPOSE, Builtin.SQUEEZE, Builtin.EXPAND_DIMS}
SELECTS = {Builtin.SELECT, Builtin.SELECT_V2}


def reads_signs(model: Any, subgraph: Any, operator: Any) -> bool:
    """Whether the first input of an op is `where(condition, a, b)` with a and b -1 or 1, however it was moved.

    Args:
        model: A loaded model.
        subgraph: The one that holds the op.
        operator: A convolution or dense layer.
    """
    index = int(operator.inputs[0])
    for _ in range(len(subgraph.operators)):
        source = next((each for each in subgraph.operators if index in each.outputs), None)
        if source is None:
            return False
        builtin = model.operatorCodes[source.opcodeIndex].builtinCode
        if builtin in SELECTS:
            return all(_is_sign(model, subgraph, source.inputs[position]) for position in (1, 2))
        if builtin not in MOVES or _has_activation(source):
            return False
        index = int(source.inputs[0])
    return False


def _has_activation(operator: Any) -> bool:
    none = schema.ActivationFunctionType.NONE
    return bool(getattr(operator.builtinOptions, "fusedActivationFunction", none) != none)


def _is_sign(model: Any, subgraph: Any, index: int) -> bool:
    tensor = subgraph.tensors[int(index)]
    value = constant(model, tensor) if tensor.type == schema.TensorType.FLOAT32 else None
    return value is not None and value.size == 1 and abs(float(value.reshape(()))) == 1.0
