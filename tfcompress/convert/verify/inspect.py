"""What every constant of a .tflite file costs and holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import Codes, Floats, Payload, read
from tfcompress.convert.custom_ops import DECODE, EMBEDDING, check_op, payloads
from tfcompress.convert.discovery.structure import order0_entropy
from tfcompress.convert.graph import constant, load, op_name
from tfcompress.convert.placement.record import noted
from tfcompress.errors import InvalidInputError

__all__ = ["Constant", "TensorInfo", "constants", "info_of", "inspect"]

_TYPE_NAMES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
_INTEGERS = {schema.TensorType.INT8, schema.TensorType.INT4}
_WEIGHTS = {schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, *_INTEGERS}


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """One constant of a file.

    Attributes:
        op: The op that reads it; several are joined with "+".
        subgraph: Index of the subgraph, 0 is the main one.
        name: Its name in the file; packing drops the names of constants.
        shape: Shape of the weight.
        type: Type of the tensor that the op reads, such as "float32" or "int8".
        encoding: How a payload holds it: "uniform", "palette", "ternary", "binary", "power_of_two" or "float";
            of a constant that is stored as it is, its type.
        bits: Bits of one code; of a plain constant the bits of its type.
        granularity: "tensor", "channel" or "block": how many weights share a scale; "" where there is no scale.
        sparsity: Fraction of zeros, or None where the type is not understood.
        levels: Number of distinct values, scales left aside for a payload; or None.
        bytes: Bytes of the constant in the file.
        entropy: Order-0 entropy in bits per weight, of the codes for a payload; or None. Floats count the entropy of
            their exponents, and sign and mantissa as they are.
        bits_per_weight: 8 * bytes / weights.
        ram_bytes: Resident bytes once the interpreter is ready, without what XNNPACK copies.
        coder: "plain", "adaptive", "steady" or "rans" for a payload, else None.
        zeros: "dense", "bitmap", "run_length", "blocks" or "n_of_m" for a payload, else None.
        has_bias: Whether the op's bias is inside the payload.
        runs: "kernel" where ops of ours compute with the packed weight, "decoded" where it is decoded for stock ops
            when the file is loaded, "kernel+decoded" for both; "" for a constant that is stored as it is.
        speedup: How many times as fast as XNNPACK's float op our kernel was where the file was tuned; None elsewhere.
    """

    op: str
    subgraph: int
    name: str
    shape: tuple[int, ...]
    type: str
    encoding: str
    bits: int
    granularity: str
    sparsity: float | None
    levels: int | None
    bytes: int
    entropy: float | None
    bits_per_weight: float
    ram_bytes: int
    coder: str | None
    zeros: str | None
    has_bias: bool
    runs: str = ""
    speedup: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return {**dataclasses.asdict(self), "shape": list(self.shape)}


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """A constant as it stands in the file: its payload, or its plain values.

    Attributes:
        ops: Names of the ops that read it.
        readers: How many ops use the weight, the ones behind a TfcDecode counted.
        subgraph: Index of the subgraph that uses it first.
        name: Name of the tensor, or "".
        type: TFLite's type code of the weight.
        shape: Shape of the weight.
        bytes: Bytes of the payload or of the plain values.
        payload: The payload as it was read, or None.
        value: The plain value, or None.
        quantization: TFLite's quantization of the weight, or None.
        stored: The bytes in the file.
    """

    ops: tuple[str, ...]
    readers: int
    subgraph: int
    name: str
    type: int
    shape: tuple[int, ...]
    bytes: int
    payload: Payload | None
    value: np.ndarray | None
    quantization: Any
    stored: np.ndarray

    @property
    def codes(self) -> Codes | None:
        """The codes of the payload, if it has some."""
        weight = None if self.payload is None else self.payload.weight
        return weight if isinstance(weight, Codes) else None

    def weight(self) -> np.ndarray | None:
        """The weight as float32, that of integers without scale; None for a type that holds no weights."""
        if self.payload is None and (self.value is None or self.type not in _WEIGHTS):
            return None
        weight = self.value if self.payload is None else self.payload.weight.weight()
        values = np.asarray(weight, np.float32).reshape(self.shape)
        return values - self._per_channel("zeroPoint", 0) if self.type in _INTEGERS else values

    def real(self) -> np.ndarray | None:
        """The numbers that the ops compute with: the weight under TFLite's scale; of other types the plain value."""
        weight = self.weight()
        if weight is None:
            return self.value
        return weight * self._per_channel("scale", 1) if self.type in _INTEGERS else weight

    def _per_channel(self, field: str, default: float) -> np.ndarray:
        """A field of the quantization, in the weight's rank."""
        numbers = np.atleast_1d(np.asarray(default, np.float32))
        given = None if self.quantization is None else getattr(self.quantization, field)
        if given is not None and len(given):
            numbers = np.asarray(given, np.float32)
        axis = 0 if numbers.size == 1 else int(self.quantization.quantizedDimension)
        if numbers.size not in (1, *self.shape[axis : axis + 1]):
            raise InvalidInputError(
                f"a quantized constant must have 1 or {self.shape} values of {field}", f"{numbers.size}", "Convert anew"
            )
        return numbers.reshape([-1 if each == axis else 1 for each in range(max(1, len(self.shape)))])

    def ram_bytes(self) -> int:
        """Resident bytes: kernels keep 4 or 8 bits per weight, embeddings their codes, a TfcDecode its tensor."""
        if self.payload is None:
            return self.bytes
        weight = self.payload.weight
        count = math.prod(weight.shape)
        scales = 0 if self.codes is None or self.codes.scale is None else self.codes.scale.size
        kernel = count * (4 if weight.num_bits <= 4 else 8) // 8 + 4 * scales
        table = -(-count * weight.num_bits // 8) + 4 * scales
        decoded = {"int4": -(-count // 2), "int8": count, "float16": 2 * count}.get(weight.dtype, 4 * count)
        kept = [{EMBEDDING: table, DECODE: 0}.get(op, kernel) for op in self.ops]
        return sum(kept) + decoded * (DECODE in self.ops)


def constants(model: Any, reader: Callable[[bytes], Payload] = read) -> list[Constant]:
    """Every constant of a model once, in the order in which the ops read them.

    Args:
        model: A loaded model.
        reader: Reads a payload.

    Raises:
        PayloadError: A payload is damaged, or does not fit its op.
    """
    merged: dict[tuple[Any, ...], Constant] = {}
    held: dict[bytes, Payload] = {}
    packed: dict[int, Payload] = {}
    for subgraph, operator, payload in payloads(model):
        if payload not in held:
            held[payload] = reader(payload)
        check_op(model, subgraph, operator, held[payload])
        packed[id(operator)] = held[payload]
    for index, subgraph in enumerate(model.subgraphs):
        consumers = _consumers(subgraph)
        for operator in subgraph.operators:
            for key, found in _constants_of(model, index, operator, packed.get(id(operator)), consumers):
                known = merged.get(key)
                if known is not None:
                    found = dataclasses.replace(known, ops=known.ops + found.ops, readers=known.readers + found.readers)
                merged[key] = found
    return list(merged.values())


def _consumers(subgraph: Any) -> dict[int, int]:
    """For each tensor the number of ops that read it."""
    counts: dict[int, int] = {}
    for operator in subgraph.operators:
        for index in {int(index) for index in operator.inputs}:
            counts[index] = counts.get(index, 0) + 1
    return counts


def _constants_of(
    model: Any, index: int, operator: Any, payload: Payload | None, consumers: dict[int, int]
) -> Iterator[tuple[tuple[Any, ...], Constant]]:
    """The constants that one op reads, each with what makes it the same as another."""
    subgraph = model.subgraphs[index]
    op = op_name(model, operator)
    for input_ in operator.inputs:
        tensor = subgraph.tensors[int(input_)] if input_ >= 0 else None
        data = None if tensor is None else model.buffers[tensor.buffer].data
        if tensor is None or data is None or len(data) == 0:
            continue
        name = tensor.name.decode("utf-8", "replace") if isinstance(tensor.name, bytes) else tensor.name or ""
        shape = _shape(tensor)
        key = (tensor.buffer, shape, tensor.type)
        if payload is None or tensor.type != schema.TensorType.UINT8:
            value = constant(model, tensor)
            found = Constant(
                (op,), 1, index, name, tensor.type, shape, len(data), None, value, tensor.quantization, data
            )
        elif op == DECODE:
            output = subgraph.tensors[int(operator.outputs[0])]
            readers = consumers.get(int(operator.outputs[0]), 1)
            shape = _shape(output)
            found = Constant(
                (op,), readers, index, name, output.type, shape, len(data), payload, None, output.quantization, data
            )
        else:
            shape, float32 = payload.weight.shape, schema.TensorType.FLOAT32
            found = Constant((op,), 1, index, name, float32, shape, len(data), payload, None, None, data)
        yield key, found


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def inspect(tflite: bytes) -> list[TensorInfo]:
    """Lists the constants of a file, packed or not.

    Args:
        tflite: Bytes of a .tflite file.

    Raises:
        InvalidInputError: The bytes are no undamaged .tflite file.
        PayloadError: A payload is damaged, or does not fit its op.
    """
    model = load(tflite)
    rows = []
    for each in constants(model):
        measured = None if each.payload is None else noted(model, each.stored.tobytes())
        rows.append(dataclasses.replace(info_of(each), speedup=measured))
    return rows


def info_of(found: Constant) -> TensorInfo:
    """What a constant costs and holds."""
    count = max(1, math.prod(found.shape))
    weight, payload, codes = found.weight(), found.payload, found.codes
    counts = _counts(found)
    return TensorInfo(
        op="+".join(dict.fromkeys(found.ops)),
        subgraph=found.subgraph,
        name=found.name,
        shape=found.shape,
        type=_TYPE_NAMES.get(found.type, "?"),
        encoding=_TYPE_NAMES.get(found.type, "?") if payload is None else str(payload.weight.encoding),
        bits=8 * found.bytes // count if payload is None else payload.weight.num_bits,
        granularity=_granularity(codes),
        sparsity=None if weight is None else float(np.mean(weight == 0)),
        levels=counts.size or None,
        bytes=found.bytes,
        entropy=_entropy(found, counts),
        bits_per_weight=8 * found.bytes / count,
        ram_bytes=found.ram_bytes(),
        coder=None if payload is None else payload.coder,
        zeros=None if payload is None else payload.zeros,
        has_bias=payload is not None and payload.bias is not None,
        runs="" if payload is None else _runs(found.ops),
    )


def _runs(ops: tuple[str, ...]) -> str:
    kinds = {"decoded" if op == DECODE else "kernel" for op in ops}
    return "+".join(sorted(kinds, reverse=True))


def _granularity(codes: Codes | None) -> str:
    if codes is None or codes.scale is None:
        return ""
    return "block" if codes.block else "tensor" if codes.channel_axis is None else "channel"


def _counts(found: Constant) -> np.ndarray:
    """How often each distinct value occurs, that of codes without their scales; empty for a type without numbers."""
    values = found.value
    if found.payload is not None:
        values = found.payload.weight.weight() if found.codes is None else found.codes.symbols
    if values is None or not values.size:
        return np.zeros(0, np.int64)
    if values.dtype == np.uint8:
        counts = np.bincount(values.reshape(-1))
        return counts[counts > 0]
    counted: np.ndarray = np.unique(values, return_counts=True)[1]
    return counted


def _entropy(found: Constant, counts: np.ndarray) -> float | None:
    if found.payload is not None and isinstance(found.payload.weight, Floats):
        floats = found.payload.weight
        raw = (floats.mantissa_bits + 1) * float(np.mean(floats.values != 0))
        return order0_entropy(floats.exponents()) + raw
    frequencies = counts / max(1, counts.sum())
    return float(-(frequencies * np.log2(frequencies)).sum()) + 0.0 if counts.size else None
