"""Audit: the finished file, decoded from its bytes, against what was promised."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import Payload, read
from tfcompress.codec.coders.native import native_coders
from tfcompress.codec.layout import BIT_CODERS
from tfcompress.convert.graph import load
from tfcompress.convert.verify.inspect import constants
from tfcompress.convert.verify.shipped import Answer, Shipped, in_order
from tfcompress.errors import PayloadError
from tfcompress.recipe import Promise

__all__ = ["AuditResult", "AuditRow", "audit"]

# A decoder of bits in Python takes about half a microsecond per bit coded: 4 M weights take it 5 to 10 s.
REFERENCE_CODES = 2**22
_TYPE_NAMES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}


@dataclasses.dataclass(frozen=True)
class AuditRow:
    """One weight: what was asked and what the file holds.

    Attributes:
        layer: Path of the layer; the tensor's name where nothing was promised.
        variable: Path of the variable; "" where nothing was promised.
        op: The op that reads it, "" when it is not in the file.
        shape: Shape in the file, or the promised one when it is not in the file.
        encoding: Encoding of the payload; of a constant that is stored as it is, its type, such as "float32".
        asked_sparsity: Asked fraction of zeros, or None.
        asked_centroids: Asked number of shared values, or None.
        asked_bits: Asked bit width, or None.
        promised_zeros: Zeros of the finalized weight, or None.
        promised_levels: Distinct values of the finalized weight, or None.
        zeros: Zeros in the file.
        levels: Most distinct values in one scale group in the file.
        bits: Bit width of the codes; for a plain constant of the codes that its values lie on.
        bytes: Bytes in the file.
        ram_bytes: Resident bytes when it runs.
        zeroed_channels: Output channels that are all zero in the file although that was not promised.
        kept: Whether the promise is kept; None where nothing was promised.
        faults: What is broken, in words.
    """

    layer: str
    variable: str
    op: str
    shape: tuple[int, ...]
    encoding: str
    asked_sparsity: float | None = None
    asked_centroids: int | None = None
    asked_bits: int | None = None
    promised_zeros: int | None = None
    promised_levels: int | None = None
    zeros: int | None = None
    levels: int | None = None
    bits: int | None = None
    bytes: int | None = None
    ram_bytes: int | None = None
    zeroed_channels: int = 0
    kept: bool | None = None
    faults: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return {**dataclasses.asdict(self), "shape": list(self.shape), "faults": list(self.faults)}


@dataclasses.dataclass(frozen=True)
class AuditResult:
    """The verdict on one file.

    Attributes:
        passed: Whether every promise is kept.
        rows: One per promise, in their order; without promises one per compressible constant.
        failures: One line per broken promise.
        bytes: Size of the file.
        decoders: The implementations that decoded every payload and agree: "reference" in Python, and "native" where
            the native library is there.
        notes: What a reader of the verdict should know, one line each.
    """

    passed: bool
    rows: tuple[AuditRow, ...]
    failures: tuple[str, ...]
    bytes: int
    decoders: tuple[str, ...] = ("reference",)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON-able values."""
        return {
            "passed": self.passed,
            "bytes": self.bytes,
            "failures": list(self.failures),
            "decoders": list(self.decoders),
            "notes": list(self.notes),
            "rows": [row.to_json() for row in self.rows],
        }


def audit(packed: bytes, promises: Sequence[Promise] | None = None) -> AuditResult:
    """Decodes every weight of a finished file and compares it with the promises.

    Every payload is decoded twice, by the native library and by the readable reference, and both must agree: whichever
    of them wrote the file, the other one has read it. Without the native library the reference decodes alone; the
    result's `decoders` and a note say so.

    A weight is recognised by its shape and the exact pattern of its zeros, in Keras' layout. Weights that agree in both
    are told apart by what they hold, then by their order. A BatchNorm whose gamma is 0 leaves channels of zeros where
    none were promised; such a weight is recognised by its other channels and its place among the weights of its size,
    and a note says so.

    Args:
        packed: Bytes of the finished .tflite file.
        promises: What `finalize` promised; None checks only that every payload is undamaged.

    Raises:
        InvalidInputError: The bytes are no undamaged .tflite file.
        PayloadError: A payload is damaged, or the two decoders disagree.
    """
    reader = _Reader()
    found = [each for each in constants(load(packed), reader) if len(each.shape) >= 2 and each.weight() is not None]
    shipped = [Shipped(each, position) for position, each in enumerate(found)]
    rows = [_held(each) for each in shipped] if promises is None else _judge_all(list(promises), shipped)
    failures = tuple(f"'{row.variable}': {'; '.join(row.faults)}" for row in rows if row.kept is False)
    zeroed = [
        f"'{row.variable}': {row.zeroed_channels} output channel(s) are all zero in the file, which a BatchNorm with "
        "gamma 0 does; the weight is recognised by the other channels' zeros and its order"
        for row in rows
        if row.zeroed_channels
    ]
    return AuditResult(not failures, tuple(rows), failures, len(packed), reader.decoders, (*reader.notes, *zeroed))


class _Reader:
    """Reads payloads by both implementations.

    Attributes:
        decoders: Those that decode every payload.
        notes: Where one of them decoded something alone.
    """

    def __init__(self) -> None:
        self._native = native_coders()
        self.decoders = ("reference",) if self._native is None else ("reference", "native")
        self.notes: list[str] = []

    def __call__(self, payload: bytes) -> Payload:
        """The payload, once both agree on it."""
        held = read(payload)
        if self._native is None:
            self.notes = [
                "the native library is missing or of another version: the reference decoded every payload alone, with "
                "nothing to compare it with"
            ]
            return held
        if held.coder in BIT_CODERS and math.prod(held.weight.shape) > REFERENCE_CODES:
            self.notes.append(
                f"the symbols of a payload of shape {held.weight.shape} were decoded by the native library alone: the "
                "reference would take minutes for a payload of this size and coder"
            )
        else:
            held = read(payload, reference=True)
        weight = held.weight.weight().reshape(-1)
        if not np.array_equal(self._native.decode_payload(payload, weight.size), weight):
            raise PayloadError(
                "the native library and the reference must decode a payload alike",
                f"shape={held.weight.shape}, {held.coder}",
                "Report this file: it is a fault of tfcompress",
            )
        return held


def _held(shipped: Shipped) -> AuditRow:
    """What the file holds, with nothing promised."""
    found = shipped.found
    codes = found.codes
    # A TfcDecode may give a payload another shape, in which the payload's axes mean nothing.
    axis = codes.channel_axis if codes is not None and codes.channel_axis and codes.shape == found.shape else 0
    rows = np.moveaxis(shipped.weight, axis, 0).reshape(shipped.weight.shape[axis], -1)
    payload = found.payload
    return AuditRow(
        layer=found.name,
        variable="",
        op="+".join(dict.fromkeys(found.ops)),
        shape=found.shape,
        encoding=_TYPE_NAMES[found.type] if payload is None else str(payload.weight.encoding),
        zeros=int(np.count_nonzero(shipped.weight == 0)),
        levels=shipped.levels("channel", rows),
        bits=shipped.bits(None),
        bytes=found.bytes,
        ram_bytes=found.ram_bytes(),
    )


def _judge_all(promises: list[Promise], shipped: list[Shipped]) -> list[AuditRow]:
    """One row per promise: first those whose zeros are exactly the promised ones, then what is left."""
    answers: list[Answer | None] = [None] * len(promises)
    rows: list[AuditRow | None] = [None] * len(promises)
    for index, promise in enumerate(promises):
        exact = [each.exact(promise) for each in shipped if each.uses]
        answers[index], rows[index] = _best(promise, [each for each in exact if each is not None])
    for index, answer in in_order(promises, answers, shipped):
        answers[index], rows[index] = _best(promises[index], [answer])
    return [_missing(promise) if row is None else row for promise, row in zip(promises, rows, strict=True)]


def _best(promise: Promise, candidates: list[Answer]) -> tuple[Answer | None, AuditRow | None]:
    """The weight that answers a promise, which is used up by it, and the verdict."""
    if not candidates:
        return None, None
    rows = [_judge(promise, each) for each in candidates]
    kept = [index for index, row in enumerate(rows) if row.kept]
    # Among equals the widest codes that keep the promise, so that narrower ones stay for stricter promises.
    best = max(kept, key=lambda index: (rows[index].bits or 0, -index)) if kept else 0
    candidates[best].shipped.uses -= 1
    return candidates[best], rows[best]


def _judge(promise: Promise, answer: Answer) -> AuditRow:
    held = _held(answer.shipped)
    levels = answer.shipped.levels(promise.granularity, answer.rows)
    bits = answer.shipped.bits(promise.num_bits)
    faults = []
    zeros = held.zeros or 0
    asked_zeros = math.floor(promise.sparsity * answer.rows.size) if promise.sparsity is not None else 0
    if zeros < max(promise.zeros, asked_zeros):
        faults.append(f"{zeros} zeros, {max(promise.zeros, asked_zeros)} promised")
    if levels > promise.levels:
        faults.append(f"{levels} levels, {promise.levels} promised")
    if promise.num_centroids is not None and levels > promise.num_centroids:
        faults.append(f"{levels} shared values, {promise.num_centroids} asked")
    if promise.num_bits is not None and bits > promise.num_bits:
        faults.append(f"codes of {bits} bits, {promise.num_bits} asked")
    return dataclasses.replace(
        _row(promise, held),
        levels=levels,
        bits=bits,
        zeroed_channels=answer.zeroed,
        kept=not faults,
        faults=tuple(faults),
    )


def _missing(promise: Promise) -> AuditRow:
    fault = f"no weight of shape {promise.shape} with the promised pattern of zeros is in the file"
    empty = AuditRow("", "", "", promise.shape, "")
    return dataclasses.replace(_row(promise, empty), kept=False, faults=(fault,))


def _row(promise: Promise, held: AuditRow) -> AuditRow:
    return dataclasses.replace(
        held,
        layer=promise.layer,
        variable=promise.variable,
        asked_sparsity=promise.sparsity,
        asked_centroids=promise.num_centroids,
        asked_bits=promise.num_bits,
        promised_zeros=promise.zeros,
        promised_levels=promise.levels,
    )
