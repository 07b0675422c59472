"""Audit: the finished file, decoded from its bytes, against what was promised."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfcompress.codec import Codes, encode
from tfcompress.convert.graph import load
from tfcompress.convert.inspect import Constant, constants
from tfcompress.convert.pack import DECODE_BYTES, PAYLOAD_BYTES
from tfcompress.convert.structure import narrowest_codes
from tfcompress.recipe import Promise, mask_hash

__all__ = ["AuditResult", "AuditRow", "audit"]


@dataclasses.dataclass(frozen=True)
class AuditRow:
    """One weight: what was asked and what the file holds.

    Attributes:
        layer: Path of the layer; the tensor's name where nothing was promised.
        variable: Path of the variable; "" where nothing was promised.
        op: The op that reads it, "" when it is not in the file.
        shape: Shape in the file, or the promised one when it is not in the file.
        encoding: "uniform", "palette" or "float32".
        asked_sparsity: Asked fraction of zeros, or None.
        asked_centroids: Asked number of shared values, or None.
        asked_bits: Asked bit width, or None.
        promised_zeros: Zeros of the finalized weight, or None.
        promised_levels: Distinct values of the finalized weight, or None.
        zeros: Zeros in the file.
        levels: Most distinct values in one scale group in the file.
        bits: Bit width of the codes; for a float constant of the codes that its values lie on.
        bytes: Bytes in the file.
        ram_bytes: Resident bytes when it runs.
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
    """

    passed: bool
    rows: tuple[AuditRow, ...]
    failures: tuple[str, ...]
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON-able values."""
        return {
            "passed": self.passed,
            "bytes": self.bytes,
            "failures": list(self.failures),
            "rows": [row.to_json() for row in self.rows],
        }


def audit(packed: bytes, promises: Sequence[Promise] | None = None) -> AuditResult:
    """Decodes every weight of a finished file and compares it with the promises.

    A weight is recognised by its shape and the exact pattern of its zeros, in Keras' layout. Weights
    that agree in both are told apart by what they hold, then by their order.

    Args:
        packed: Bytes of the finished .tflite file.
        promises: What `finalize` promised; None checks only that every payload is undamaged.

    Raises:
        InvalidInputError: The bytes are no undamaged .tflite file.
        PayloadError: A payload is damaged.
    """
    found = [each for each in constants(load(packed)) if len(each.shape) >= 2 and each.weight() is not None]
    shipped = [_Shipped(each) for each in found]
    if promises is None:
        rows = tuple(each.row() for each in shipped)
    else:
        rows = tuple(_judge_all(list(promises), shipped))
    failures = tuple(f"'{row.variable}': {'; '.join(row.faults)}" for row in rows if row.kept is False)
    return AuditResult(not failures, rows, failures, len(packed))


class _Shipped:
    """A constant of the file and what can be measured on it."""

    def __init__(self, found: Constant) -> None:
        self.found = found
        weight = found.weight()
        assert weight is not None
        self.weight = weight
        self._views: dict[tuple[int, ...], list[tuple[str, np.ndarray]]] = {}

    def view(self, promise: Promise) -> np.ndarray | None:
        """The weight as [output channels, rest], if it is the promised one."""
        if self.weight.size != math.prod(promise.shape):
            return None
        if promise.shape not in self._views:
            views = [(mask_hash(m.reshape(promise.shape), (0,)), m) for m in _channels_first(self.weight)]
            self._views[promise.shape] = views
        return next((rows for name, rows in self._views[promise.shape] if name == promise.mask_hash), None)

    def bits(self, most: int | None) -> int:
        """Bit width of the codes in the file, or, where that exceeds `most`, of the narrowest that its values lie on.

        A float constant counts as its codes only where a payload would take more bytes.
        """
        codes = self.found.codes
        if codes is not None and (most is None or codes.num_bits <= most):
            return codes.num_bits
        narrowest = narrowest_codes(self.weight, (0, -1))
        if narrowest is None:
            return 32 if codes is None else codes.num_bits
        if codes is None and len(encode(narrowest)) + PAYLOAD_BYTES + DECODE_BYTES < self.weight.nbytes:
            return 32
        return narrowest.num_bits

    def levels(self, granularity: str, rows: np.ndarray) -> int:
        """Most distinct values in one scale group; `rows` is [output channels, rest]."""
        per_channel = int(np.count_nonzero(np.diff(np.sort(rows, axis=1), axis=1), axis=1).max(initial=0)) + 1
        codes = self.found.codes
        if granularity == "channel" or codes is None:
            return per_channel
        # A folded BatchNorm gives shared values a scale per channel: count them below the scale.
        return max(per_channel, min(_shared_levels(codes), int(np.unique(self.weight).size)))

    def row(self) -> AuditRow:
        """What the file holds, with nothing promised."""
        found = self.found
        axis = 0 if found.codes is None or found.codes.channel_axis is None else found.codes.channel_axis
        rows = np.moveaxis(self.weight, axis, 0).reshape(self.weight.shape[axis], -1)
        return AuditRow(
            layer=found.name,
            variable="",
            op="+".join(dict.fromkeys(found.ops)),
            shape=found.shape,
            encoding="float32" if found.codes is None else "uniform" if found.codes.codebook is None else "palette",
            zeros=int(np.count_nonzero(self.weight == 0)),
            levels=self.levels("channel", rows),
            bits=32 if found.codes is None else found.codes.num_bits,
            bytes=found.bytes,
            ram_bytes=found.ram_bytes(),
        )


def _channels_first(weight: np.ndarray) -> Iterator[np.ndarray]:
    """The ways in which TFLite's axes may become Keras' canonical ones, as [output channels, rest].

    Convolutions, dense layers and embeddings have the output channel first already; depthwise and
    3-D convolutions, and kernels that a BATCH_MATMUL or a WHILE body reads, have it last.
    """
    yield weight.reshape(weight.shape[0], -1)
    yield np.moveaxis(weight, -1, 0).reshape(weight.shape[-1], -1)


def _shared_levels(codes: Codes) -> int:
    """Number of values that the channels share, a channel's sign left aside."""
    values = codes.levels()
    axis = codes.channel_axis
    if axis is None:
        return int(np.unique(codes.symbols).size)
    channels = np.moveaxis(codes.symbols, axis, 0).reshape(codes.symbols.shape[axis], -1)
    sets = sorted((set(values[np.unique(row)].tolist()) for row in channels), key=len, reverse=True)
    shared = sets[0]
    for each in sets[1:]:
        mirrored = {0.0 - value for value in each}
        shared = shared | min(each, mirrored, key=lambda candidate: len(candidate - shared))
    return len(shared)


def _judge_all(promises: list[Promise], shipped: list[_Shipped]) -> Iterator[AuditRow]:
    free = list(shipped)
    for promise in promises:
        candidates = [each for each in free if each.view(promise) is not None]
        rows = [_judge(promise, each) for each in candidates]
        kept = [index for index, row in enumerate(rows) if row.kept]
        if not rows:
            yield _missing(promise)
            continue
        # Among equals the widest codes that keep the promise, so that narrower ones stay for stricter promises.
        best = max(kept, key=lambda index: (rows[index].bits or 0, -index)) if kept else 0
        free = [each for each in free if each is not candidates[best]]
        yield rows[best]


def _judge(promise: Promise, shipped: _Shipped) -> AuditRow:
    rows = shipped.view(promise)
    assert rows is not None
    held = shipped.row()
    levels = shipped.levels(promise.granularity, rows)
    bits = shipped.bits(promise.num_bits)
    faults = []
    zeros = held.zeros or 0
    asked_zeros = math.floor(promise.sparsity * rows.size) if promise.sparsity is not None else 0
    if zeros < max(promise.zeros, asked_zeros):
        faults.append(f"{zeros} zeros, {max(promise.zeros, asked_zeros)} promised")
    if levels > promise.levels:
        faults.append(f"{levels} levels, {promise.levels} promised")
    if promise.num_centroids is not None and levels > promise.num_centroids:
        faults.append(f"{levels} shared values, {promise.num_centroids} asked")
    if promise.num_bits is not None and bits > promise.num_bits:
        faults.append(f"codes of {bits} bits, {promise.num_bits} asked")
    return dataclasses.replace(_row(promise, held), levels=levels, bits=bits, kept=not faults, faults=tuple(faults))


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
