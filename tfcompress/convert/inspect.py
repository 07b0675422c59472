"""What every constant of a .tflite file costs and holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import Codes, decode
from tfcompress.convert.graph import constant, custom_name, load
from tfcompress.convert.pack import DECODE, payloads
from tfcompress.convert.structure import order0_entropy

__all__ = ["Constant", "TensorInfo", "constants", "inspect"]

_OP_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
_TYPE_NAMES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """One constant of a file.

    Attributes:
        op: The op that reads it; several are joined with "+".
        subgraph: Index of the subgraph, 0 is the main one.
        name: Its name in the file; packing drops the names of constants.
        shape: Shape of the weight.
        encoding: "uniform" or "palette" for a payload, else the stored type, such as "float32".
        bits: Bits of one code; of a plain constant the bits of its type.
        sparsity: Fraction of zeros, or None where the type is not understood.
        levels: Number of distinct values, scales left aside for a payload; or None.
        bytes: Bytes of the constant in the file.
        entropy: Order-0 entropy in bits per weight (of the codes, for a payload); or None.
        bits_per_weight: 8 * bytes / weights.
        ram_bytes: Resident bytes once the interpreter is ready, without what XNNPACK copies.
    """

    op: str
    subgraph: int
    name: str
    shape: tuple[int, ...]
    encoding: str
    bits: int
    sparsity: float | None
    levels: int | None
    bytes: int
    entropy: float | None
    bits_per_weight: float
    ram_bytes: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return {**dataclasses.asdict(self), "shape": list(self.shape)}


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """A constant as it stands in the file: its codes, or its plain values.

    Attributes:
        ops: Names of the ops that read it.
        subgraph: Index of the subgraph that uses it first.
        name: Name of the tensor, or "".
        type: TFLite's type code of the stored tensor.
        shape: Shape of the weight.
        bytes: Bytes of the payload or of the plain values.
        codes: The decoded payload, or None.
        value: A plain float32 value, or None.
    """

    ops: tuple[str, ...]
    subgraph: int
    name: str
    type: int
    shape: tuple[int, ...]
    bytes: int
    codes: Codes | None
    value: np.ndarray | None

    def weight(self) -> np.ndarray | None:
        """The float32 weight; None for other types."""
        return self.value if self.codes is None else self.codes.weight()

    def ram_bytes(self) -> int:
        """Resident bytes: a kernel keeps 4 or 8 bits per weight, a decoded constant floats."""
        if self.codes is None:
            return self.bytes
        kernels = [op for op in self.ops if op != DECODE]
        packed = self.codes.symbols.size * (4 if self.codes.num_bits <= 4 else 8) // 8 + 4 * self.codes.scale.size
        return packed * len(kernels) + 4 * self.codes.symbols.size * (DECODE in self.ops)


def constants(model: Any) -> list[Constant]:
    """Every constant of a model once, in the order in which the ops read them.

    Raises:
        PayloadError: A payload is damaged.
    """
    merged: dict[tuple[Any, ...], Constant] = {}
    decoded: dict[bytes, Codes] = {}
    packed = {id(operator): payload for _, operator, payload in payloads(model)}
    for index, subgraph in enumerate(model.subgraphs):
        for operator in subgraph.operators:
            for key, found in _constants_of(model, index, operator, packed.get(id(operator)), decoded):
                known = merged.get(key)
                merged[key] = found if known is None else dataclasses.replace(known, ops=known.ops + found.ops)
    return list(merged.values())


def _constants_of(
    model: Any, index: int, operator: Any, payload: bytes | None, decoded: dict[bytes, Codes]
) -> Iterator[tuple[tuple[Any, ...], Constant]]:
    """The constants that one op reads, each with what makes it the same as another."""
    subgraph = model.subgraphs[index]
    op = custom_name(model, operator) or _OP_NAMES.get(model.operatorCodes[operator.opcodeIndex].builtinCode, "?")
    for input_ in operator.inputs:
        if input_ < 0:
            continue
        tensor = subgraph.tensors[int(input_)]
        data = model.buffers[tensor.buffer].data
        if data is None or len(data) == 0:
            continue
        name = tensor.name.decode("utf-8", "replace") if isinstance(tensor.name, bytes) else tensor.name or ""
        shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
        value = constant(model, tensor)
        codes = None
        if payload is not None and value is not None and tensor.type == schema.TensorType.UINT8:
            if payload not in decoded:
                decoded[payload] = decode(payload)
            codes = decoded[payload]
            shape = codes.symbols.shape
        plain = value if tensor.type == schema.TensorType.FLOAT32 else None
        key = (tensor.buffer, shape, tensor.type)
        yield key, Constant((op,), index, name, tensor.type, shape, len(data), codes, plain)


def inspect(tflite: bytes) -> list[TensorInfo]:
    """Lists the constants of a file, packed or not.

    Args:
        tflite: Bytes of a .tflite file.

    Raises:
        InvalidInputError: The bytes are no undamaged .tflite file.
        PayloadError: A payload is damaged.
    """
    return [_info(each) for each in constants(load(tflite))]


def _info(found: Constant) -> TensorInfo:
    count = max(1, int(np.prod(found.shape, dtype=np.int64)))
    weight = found.weight()
    symbols = None
    if found.codes is not None:
        encoding, bits = ("uniform" if found.codes.codebook is None else "palette"), found.codes.num_bits
        symbols = found.codes.symbols
    else:
        encoding, bits = _TYPE_NAMES.get(found.type, "?"), 8 * found.bytes // count
        if found.value is not None and found.value.size:
            _, symbols = np.unique(found.value, return_inverse=True)
    return TensorInfo(
        op="+".join(dict.fromkeys(found.ops)),
        subgraph=found.subgraph,
        name=found.name,
        shape=found.shape,
        encoding=encoding,
        bits=bits,
        sparsity=None if weight is None else float(np.mean(weight == 0)),
        levels=None if symbols is None else int(np.unique(symbols).size),
        bytes=found.bytes,
        entropy=None if symbols is None else order0_entropy(symbols),
        bits_per_weight=8 * found.bytes / count,
        ram_bytes=found.ram_bytes(),
    )
