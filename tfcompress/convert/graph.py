"""A .tflite file as an editable object tree, and back to bytes.

Loading checks what editing relies on; saving drops everything that nothing refers to, numbers the
rest by first use, and stores equal vectors and strings once, so equal graphs give equal bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.errors import InvalidInputError

__all__ = ["add_constant", "add_tensor", "constant", "custom_name", "load", "opcode", "save"]

IDENTIFIER = b"TFL3"
# Written by the converter for its own statistics; no runtime reads them.
CONVERTER_METADATA = {b"min_runtime_version", b"CONVERSION_METADATA"}
DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.INT32: np.dtype("<i4"),
    schema.TensorType.UINT8: np.dtype("u1"),
}
ALIGN = 16  # of constants from ALIGN_FROM bytes on; padding would cost a small one too much of its size
ALIGN_FROM = 256


def load(content: bytes) -> Any:
    """Reads a .tflite file.

    Returns:
        A `schema.ModelT`.

    Raises:
        InvalidInputError: The bytes are no .tflite, are cut short, or contradict themselves.
    """
    if len(content) < 16 or content[4:8] != IDENTIFIER:
        raise InvalidInputError(
            "the model must be a .tflite file", f"{len(content)} bytes that start with {content[:8]!r}", "Convert it"
        )
    try:
        model = schema.ModelT.InitFromPackedBuf(content)
        _fill(model)
        fault = next(_faults(model), None)
    except (struct.error, ValueError, IndexError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        fault = " ".join(str(error).split()) or type(error).__name__
    if fault:
        raise InvalidInputError(
            "the model must be an undamaged .tflite file",
            f"{len(content)} bytes ({fault})",
            "Copy it again from its source, or convert it anew",
        )
    return model


def _fill(model: Any) -> None:
    """Turns absent vectors that editing walks over into empty ones."""
    for subgraph in model.subgraphs or ():
        subgraph.tensors, subgraph.operators = subgraph.tensors or [], subgraph.operators or []
        for owner in (subgraph, *subgraph.operators):
            owner.inputs = np.array(_list(owner.inputs), np.int32)
            owner.outputs = np.array(_list(owner.outputs), np.int32)


def _faults(model: Any) -> Iterator[str]:
    """What is wrong with a freshly read model."""
    if not model.subgraphs or not model.buffers:
        yield "no subgraph or no buffer"
    if model.externalBuffers or any(buffer.offset > 1 for buffer in model.buffers):
        yield "constants outside of the flatbuffer are not supported"
    for subgraph in model.subgraphs:
        tensors = len(subgraph.tensors)
        for tensor in subgraph.tensors:
            if not 0 <= tensor.buffer < len(model.buffers):
                yield f"buffer {tensor.buffer} of {len(model.buffers)}"
        for index in (*_list(subgraph.inputs), *_list(subgraph.outputs)):
            if not 0 <= index < tensors:
                yield f"tensor {index} of {tensors}"
        for operator in subgraph.operators:
            if not 0 <= operator.opcodeIndex < len(model.operatorCodes or ()):
                yield f"operator code {operator.opcodeIndex}"
            for index in (*_list(operator.inputs), *_list(operator.outputs), *_list(operator.intermediates)):
                if not -1 <= index < tensors:
                    yield f"tensor {index} of {tensors}"
    for signature in model.signatureDefs or ():
        if not 0 <= signature.subgraphIndex < len(model.subgraphs):
            yield f"subgraph {signature.subgraphIndex} of {len(model.subgraphs)}"
        tensors = len(model.subgraphs[signature.subgraphIndex].tensors)
        for entry in (*(signature.inputs or ()), *(signature.outputs or ())):
            if not 0 <= entry.tensorIndex < tensors:
                yield f"tensor {entry.tensorIndex} of {tensors} in a signature"


def _list(indices: Iterable[int] | None) -> list[int]:
    return [] if indices is None else [int(index) for index in indices]


def constant(model: Any, tensor: Any) -> np.ndarray | None:
    """The value of a constant float32, int32 or uint8 tensor; None for any other tensor.

    Raises:
        InvalidInputError: The tensor's shape and buffer disagree.
    """
    data = model.buffers[tensor.buffer].data
    dtype = DTYPES.get(tensor.type)
    if data is None or len(data) == 0 or dtype is None or tensor.sparsity is not None:
        return None
    shape = tuple(_list(tensor.shape))
    data = np.asarray(data, np.uint8)
    if min(shape, default=1) < 0 or int(np.prod(shape, dtype=np.int64)) * dtype.itemsize != data.size:
        raise InvalidInputError(
            "a constant's buffer must be as large as its shape",
            f"shape={shape}, {data.size} bytes",
            "Convert the model anew",
        )
    # Copied, since a constant may start at any offset of the file.
    value: np.ndarray = np.frombuffer(data.tobytes(), dtype).reshape(shape)
    return value


def custom_name(model: Any, operator: Any) -> str | None:
    """Name of a custom op, or None for a builtin one."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.builtinCode != schema.BuiltinOperator.CUSTOM or code.customCode is None:
        return None
    name = code.customCode
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def opcode(model: Any, builtin: int, name: str | None = None, version: int = 1) -> int:
    """Index of an operator code; it is added where it is missing."""
    wanted = (builtin, name.encode() if name else None, version)
    for index, code in enumerate(model.operatorCodes):
        known = code.customCode.encode() if isinstance(code.customCode, str) else code.customCode
        if (code.builtinCode, known, code.version) == wanted:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.customCode, code.version = wanted
    code.deprecatedBuiltinCode = min(builtin, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def add_constant(model: Any, value: bytes) -> int:
    """Adds a buffer; returns its index."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(value, np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def add_tensor(subgraph: Any, shape: Iterable[int], type_: int, buffer: int) -> int:
    """Adds a nameless tensor; returns its index."""
    tensor = schema.TensorT()
    tensor.shape = np.array(list(shape), np.int32)
    tensor.type, tensor.buffer = type_, buffer
    subgraph.tensors.append(tensor)
    return len(subgraph.tensors) - 1


def save(model: Any) -> bytes:
    """The bytes of a model; equal graphs give equal bytes.

    Tensors, buffers and operator codes that nothing refers to are dropped, as is the converter's
    own metadata. The model is changed in place.
    """
    model.metadata = [entry for entry in model.metadata or () if entry.name not in CONVERTER_METADATA] or None
    model.metadataBuffer = None
    for index, subgraph in enumerate(model.subgraphs):
        signatures = [each for each in model.signatureDefs or () if each.subgraphIndex == index]
        _renumber_tensors(subgraph, signatures)
    _renumber_buffers(model)
    _renumber_opcodes(model)
    builder = _Builder(1 << 16)
    try:
        builder.Finish(model.Pack(builder), IDENTIFIER)
    except (TypeError, ValueError, struct.error, flatbuffers.builder.BuilderSizeError) as error:
        raise InvalidInputError(
            "the model must fit a .tflite file", " ".join(str(error).split()), "Convert it anew"
        ) from None
    return bytes(builder.Output())


def _renumber_tensors(subgraph: Any, signatures: list[Any]) -> None:
    order: dict[int, int] = {-1: -1}

    def renumber(indices: Iterable[int] | None) -> np.ndarray | None:
        if indices is None:
            return None
        return np.array([order.setdefault(int(index), len(order) - 1) for index in indices], np.int32)

    subgraph.inputs = renumber(subgraph.inputs)
    for operator in subgraph.operators:
        operator.inputs = renumber(operator.inputs)
        operator.outputs = renumber(operator.outputs)
        operator.intermediates = renumber(operator.intermediates)
    subgraph.outputs = renumber(subgraph.outputs)
    for signature in signatures:
        for entry in (*(signature.inputs or ()), *(signature.outputs or ())):
            entry.tensorIndex = order.setdefault(int(entry.tensorIndex), len(order) - 1)
    del order[-1]
    subgraph.tensors = [subgraph.tensors[index] for index in order]


def _renumber_buffers(model: Any) -> None:
    # Buffer 0 is the empty one by definition of the schema.
    model.buffers[0] = schema.BufferT()
    order = {0: 0}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            data = model.buffers[tensor.buffer].data
            # An empty buffer of its own says no more than buffer 0.
            old = tensor.buffer if data is not None and len(data) else 0
            tensor.buffer = order.setdefault(old, len(order))
    for entry in model.metadata or ():
        entry.buffer = order.setdefault(entry.buffer, len(order))
    model.buffers = [model.buffers[index] for index in order]


def _renumber_opcodes(model: Any) -> None:
    order: dict[int, int] = {}
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            operator.opcodeIndex = order.setdefault(operator.opcodeIndex, len(order))
    model.operatorCodes = [model.operatorCodes[index] for index in order]


class _Builder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers ships no types.
    """Stores equal strings and equal small vectors once; aligns large constants."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._vectors: dict[tuple[str, bytes], int] = {}
        self._strings: dict[bytes, int] = {}

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> Any:  # noqa: N802
        """As the base class, once per value."""
        key = s.encode(encoding, errors) if isinstance(s, str) else bytes(s)
        if key not in self._strings:
            self._strings[key] = super().CreateString(key)
        return self._strings[key]

    def CreateNumpyVector(self, x: np.ndarray) -> Any:  # noqa: N802
        """As the base class, shapes once per value, constants aligned."""
        if x.nbytes < ALIGN_FROM:
            key = (x.dtype.str, x.tobytes())
            if key not in self._vectors:
                self._vectors[key] = super().CreateNumpyVector(x)
            return self._vectors[key]
        if x.dtype != np.uint8 or x[:4].tobytes() == b"TFCW":
            return super().CreateNumpyVector(x)
        self.StartVector(1, x.size, ALIGN)
        self.head -= x.size
        self.Bytes[self.head : self.head + x.size] = x.tobytes()
        return self.EndVector()
