"""Damaged payloads and files: bytes at random, and fields changed one by one under lengths and checksums that fit.

A mutant is named by its seed and index alone: `byte_mutant(content, seed, index)` gives the same bytes on every
machine, so a failure is reproduced from its name.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from forging import FIXED, NUMBERS, forge, take_apart, with_checksum

__all__ = ["byte_mutant", "file_mutant", "payload_mutant", "payloads_of"]

EDGES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 127, 128, 255, 256, 4096, 65535, 65536)
HUGE = (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40 - 1, 2**40, 2**62, 2**63 - 1)
FLOATS = (0x00000000, 0x80000000, 0x00000001, 0x007FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x3F800000)
NAMES = (b"TfcDecode", b"TfcConv2D", b"TfcFullyConnected", b"TfcEmbedding", b"TfcUnknown", b"Tfc", b"")


def _random(kind: str, seed: int, index: int) -> random.Random:
    return random.Random(f"{kind} {seed} {index}")


def byte_mutant(content: bytes, seed: int, index: int) -> bytes:
    """One to four bytes or stretches of `content` changed, moved, dropped or doubled; no checksum is fixed."""
    rng = _random("byte", seed, index)
    mutant = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(mutant)) if mutant else 0
        size = rng.choice((1, 1, 2, 4, 8, 32))
        match rng.randrange(8):
            case 0 | 1 | 2:
                mutant[at : at + 1] = bytes([(mutant[at] if mutant else 0) ^ 1 << rng.randrange(8)])
            case 3:
                mutant[at : at + size] = rng.randbytes(size)
            case 4:
                mutant[at : at + size] = bytes([rng.choice((0, 1, 127, 128, 255))]) * size
            case 5:
                mutant[at : at + 4] = struct.pack("<I", rng.choice((*EDGES, *HUGE[:3])))
            case 6:
                del mutant[at : at + size]
            case _:
                mutant[at:at] = mutant[at : at + size]
    if rng.randrange(40) == 0:
        del mutant[rng.randrange(len(mutant) + 1) :]
    return bytes(mutant)


# ---------------------------------------------------------------- Payloads


def payload_mutant(payload: bytes, seed: int, index: int) -> bytes:
    """One to three fields of a good payload changed; its length, padding and CRC fit what came out."""
    rng = _random("payload", seed, index)
    if rng.randrange(8) == 0:
        at = rng.randrange(8, len(payload))
        flipped = bytes([payload[at] ^ 1 << rng.randrange(8)])
        return with_checksum(payload[:at] + flipped + payload[at + 1 :])
    fields = take_apart(payload)
    changes: dict[str, Any] = {}
    for _ in range(rng.choice((1, 1, 2, 3))):
        changes |= rng.choice((_fixed, _number, _dims, _section, _section, _floats))(rng, fields | changes)
    return forge(payload, **changes)


def _fixed(rng: random.Random, fields: dict[str, Any]) -> dict[str, Any]:
    name = rng.choice(FIXED)
    near = (fields[name] ^ 1 << rng.randrange(8), (fields[name] + rng.choice((-1, 1))) % 256)
    return {name: rng.choice((*near, rng.randrange(256)))}


def _number(rng: random.Random, fields: dict[str, Any]) -> dict[str, Any]:
    name = rng.choice([each for each in (*NUMBERS, "rank", "zeros_a", "zeros_b", "side_size") if each in fields])
    if rng.randrange(12) == 0:
        return {name: rng.choice((b"\x80\x00", b"\xff" * 8 + b"\x7f", b"\xff" * 9 + b"\x01"))}
    return {name: _near(rng, fields[name])}


def _near(rng: random.Random, value: int | bytes) -> int:
    if isinstance(value, int) and rng.randrange(2):
        return max(value + rng.choice((-1, 1, value, -value // 2)), 0)
    return rng.choice((*EDGES, *EDGES, *HUGE))


def _dims(rng: random.Random, fields: dict[str, Any]) -> dict[str, Any]:
    dims = list(fields["dims"])
    match rng.randrange(4):
        case 0 if dims:
            dims[rng.randrange(len(dims))] = _near(rng, rng.choice(dims))
        case 1:
            rng.shuffle(dims)
        case 2:
            dims.insert(rng.randrange(len(dims) + 1), rng.choice((0, 1, 2, 8)))
        case _ if dims:
            dims.pop(rng.randrange(len(dims)))
    return {"dims": dims}


def _section(rng: random.Random, fields: dict[str, Any]) -> dict[str, Any]:
    """Other bytes, more or fewer, in the side section, the codes or the raw bits."""
    name = rng.choice([each for each in ("side", "codes", "codes", "raw") if fields[each]] or ["codes"])
    return {name: byte_mutant(fields[name] or b"\1", rng.randrange(2**32), 0)}


def _floats(rng: random.Random, fields: dict[str, Any]) -> dict[str, Any]:
    name = rng.choice([each for each in ("scales", "codebook", "bias") if fields[each]] or ["scales"])
    numbers = bytearray(fields[name] or bytes(4))
    at = 4 * rng.randrange(len(numbers) // 4)
    numbers[at : at + 4] = struct.pack("<I", rng.choice((*FLOATS, rng.getrandbits(32))))
    return {name: bytes(numbers)}


# ---------------------------------------------------------------- Files


def payloads_of(model: Any) -> list[tuple[Any, Any, int]]:
    """Of each of our ops in a `schema.ModelT`: its subgraph, itself, and the buffer of its payload."""
    found = []
    for subgraph in model.subgraphs or ():
        for operator in subgraph.operators or ():
            name = model.operatorCodes[operator.opcodeIndex].customCode or b""
            name = name.encode() if isinstance(name, str) else name
            if not name.startswith(b"Tfc") or operator.inputs is None:
                continue
            place = 0 if name == b"TfcDecode" else 1
            index = int(operator.inputs[place]) if place < len(operator.inputs) else -1
            if 0 <= index < len(subgraph.tensors or ()) and subgraph.tensors[index].buffer < len(model.buffers):
                found.append((subgraph, operator, int(subgraph.tensors[index].buffer)))
    return found


def file_mutant(tflite: bytes, seed: int, index: int) -> bytes:
    """One to three things of a packed file changed that concern our ops; what came out is a flatbuffer.

    Changed are payloads (see `payload_mutant`), the ops' options, versions, names, inputs and outputs, and the
    shapes, types and buffers of the tensors that they touch.
    """
    rng = _random("file", seed, index)
    while True:
        model = schema.ModelT.InitFromPackedBuf(tflite)
        ours = payloads_of(model)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            subgraph, operator, buffer = rng.choice(ours)
            rng.choice(_FILE_CHANGES)(rng, model, subgraph, operator, buffer)
        try:
            builder = flatbuffers.Builder(len(tflite) + 1024)
            builder.Finish(model.Pack(builder), b"TFL3")
            return bytes(builder.Output())
        except (struct.error, TypeError, OverflowError, ValueError):
            continue  # A change that the writer cannot express.


def _put(model: Any, buffer: int, content: bytes) -> None:
    model.buffers[buffer].data = np.frombuffer(content, np.uint8)


def _change_payload(rng: random.Random, model: Any, subgraph: Any, operator: Any, buffer: int) -> None:
    """The payload's fields; its tensor has the new size."""
    old = bytes(np.asarray(model.buffers[buffer].data, np.uint8))
    if old[:4] != b"TFCW":
        return
    try:
        new = payload_mutant(old, rng.randrange(2**32), 0)
    except (IndexError, ValueError, TypeError, KeyError):
        return  # It has been changed before.
    _put(model, buffer, new)
    for tensor in subgraph.tensors:
        if tensor.buffer == buffer and rng.randrange(8):
            tensor.shape = np.array([len(new)], np.int32)


def _change_buffer(rng: random.Random, model: Any, subgraph: Any, operator: Any, buffer: int) -> None:
    """The payload's bytes under the old shape: longer, shorter, none, or another op's."""
    old = bytes(np.asarray(model.buffers[buffer].data, np.uint8))
    other = model.buffers[rng.randrange(len(model.buffers))].data
    other = b"" if other is None else bytes(np.asarray(other, np.uint8))
    _put(model, buffer, rng.choice((old[:-4], old[:-1], old + bytes(4), old[: len(old) // 2], other, b"", old[4:])))


def _change_options(rng: random.Random, model: Any, subgraph: Any, operator: Any, buffer: int) -> None:
    options = bytearray(
        bytes(np.asarray(operator.customOptions if operator.customOptions is not None else [], np.uint8))
    )
    match rng.randrange(4):
        case 0:
            options.append(rng.choice((0, 1, 255)))
        case 1 if options:
            options.pop()
        case _ if options:
            options[rng.randrange(len(options))] = rng.choice((0, 1, 2, 3, 4, 7, 127, 128, 255))
    operator.customOptions = np.frombuffer(bytes(options), np.uint8)


def _change_code(rng: random.Random, model: Any, subgraph: Any, operator: Any, buffer: int) -> None:
    code = model.operatorCodes[operator.opcodeIndex]
    if rng.randrange(2):
        code.version = rng.choice((0, 1, 2, 127, -1))
    else:
        code.customCode = rng.choice(NAMES)


def _change_inputs(rng: random.Random, model: Any, subgraph: Any, operator: Any, buffer: int) -> None:
    field = rng.choice(("inputs", "inputs", "outputs"))
    indices = [int(each) for each in getattr(operator, field)]
    tensors = len(subgraph.tensors)
    wild = rng.choice((-1, 0, rng.randrange(tensors), rng.randrange(tensors), tensors - 1))
    match rng.randrange(5):
        case 0:
            rng.shuffle(indices)
        case 1 if indices:
            indices.pop()
        case 2:
            indices.append(wild)
        case 3 if indices:
            indices[rng.randrange(len(indices))] = wild
        case _ if indices:
            indices = indices * 2
    setattr(operator, field, np.array(indices, np.int32))


def _tensor(rng: random.Random, subgraph: Any, operator: Any) -> Any:
    touched = [int(each) for each in (*operator.inputs, *operator.outputs)]
    return subgraph.tensors[rng.choice([each for each in touched if 0 <= each < len(subgraph.tensors)] or [0])]


def _change_shape(rng: random.Random, model: Any, subgraph: Any, operator: Any, buffer: int) -> None:
    tensor = _tensor(rng, subgraph, operator)
    shape = [] if tensor.shape is None else [int(each) for each in tensor.shape]
    match rng.randrange(5):
        case 0 if shape:
            shape[rng.randrange(len(shape))] = rng.choice((0, 1, 2, 3, 5, 16, 255, 4096))
        case 1:
            shape.insert(rng.randrange(len(shape) + 1), rng.choice((0, 1, 2)))
        case 2 if shape:
            shape.pop(rng.randrange(len(shape)))
        case 3:
            rng.shuffle(shape)
        case _ if shape:
            at = rng.randrange(len(shape))
            shape[at] = max(shape[at] + rng.choice((-1, 1)), 0)
    tensor.shape = np.array(shape, np.int32)
    if rng.randrange(2):
        tensor.shapeSignature = None


def _change_type(rng: random.Random, model: Any, subgraph: Any, operator: Any, buffer: int) -> None:
    _tensor(rng, subgraph, operator).type = rng.choice((0, 1, 2, 3, 4, 6, 7, 9, 10, 15, 17))


def _change_constant(rng: random.Random, model: Any, subgraph: Any, operator: Any, buffer: int) -> None:
    """Which buffer a tensor takes its bytes from, or what is in it."""
    tensor = _tensor(rng, subgraph, operator)
    data = model.buffers[tensor.buffer].data
    if rng.randrange(2) or data is None or not tensor.buffer:
        tensor.buffer = rng.randrange(len(model.buffers))
    else:
        _put(model, int(tensor.buffer), byte_mutant(bytes(np.asarray(data, np.uint8)), rng.randrange(2**32), 0))


def _change_order(rng: random.Random, model: Any, subgraph: Any, operator: Any, buffer: int) -> None:
    rng.shuffle(subgraph.operators)


_Change = Callable[[random.Random, Any, Any, Any, int], None]
_FILE_CHANGES: tuple[_Change, ...] = (
    *(_change_payload,) * 6,
    _change_buffer,
    _change_options,
    _change_code,
    _change_inputs,
    _change_shape,
    _change_shape,
    _change_type,
    _change_constant,
    _change_order,
)
