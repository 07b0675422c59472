"""Packing: constants with structure become payloads, the ops that read them custom ops."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import Codes, Floats, encode, read
from tfcompress.convert.custom_ops import DECODE, EMBEDDING, payloads
from tfcompress.convert.discovery.encodings import DECODE_BYTES, choose
from tfcompress.convert.discovery.structure import matches
from tfcompress.convert.expand import expand
from tfcompress.convert.graph import add_constant, add_tensor, constant, load, opcode, save
from tfcompress.convert.placement.candidate import Candidate, candidate
from tfcompress.convert.placement.record import note
from tfcompress.convert.placement.rule import predicted_speedup
from tfcompress.convert.readers import PACKABLE, Key, Readers, share_equal_constants
from tfcompress.convert.reshape import make_reshapes_static
from tfcompress.errors import PayloadError

__all__ = ["DECODE_BYTES", "PAYLOAD_BYTES", "pack"]

OPTIONS_VERSION = 1
# Flatbuffer bytes beside the payload itself, measured: its vector and options in place of the constant's.
PAYLOAD_BYTES = 24
# Weights of a file, its smallest constants first, that the packer reads back by the reference decoder, which is slow.
REFERENCE_BUDGET = 1 << 18

Builtin = schema.BuiltinOperator
Speedup = Callable[[Candidate], float]


def pack(
    tflite: bytes, *, smallest: bool = False, speedup: Speedup = predicted_speedup, allow_slower: float = 0.0
) -> bytes:
    """Packs every constant for which that makes the file smaller.

    `CONV_2D`, `FULLY_CONNECTED` and embeddings (`GATHER` from a constant table) with float weights that
    have structure become `TfcConv2D`, `TfcFullyConnected` and `TfcEmbedding`; any other op that reads a
    float32, float16, int8 or int4 constant gets it through `TfcDecode`, floats without structure too.
    Integers and floats without structure stay exactly what they were, weights with structure within a
    relative 1e-6, zeros exactly zero. Packing is deterministic; a packed file comes back as it is.

    Args:
        tflite: Bytes of any .tflite file.
        smallest: Try every coder for every weight; slower to pack and to load.
        speedup: How many times as fast as XNNPACK's float op our kernel is, for a candidate: by default as
            `placement.rule` predicts.
        allow_slower: The fraction by which a kernel may be slower and still be used, ≥ 0: it saves memory, for
            decoded weights are floats there. Weights of slower ones are decoded for XNNPACK.

    Returns:
        Bytes of a .tflite file whose custom ops need the tfcompress delegate.

    Raises:
        InvalidInputError: The bytes are no undamaged .tflite file.
    """
    model = load(tflite)
    if next(payloads(model), None) is not None:
        return tflite
    share_equal_constants(model)
    packer = _Packer(model, smallest, speedup, allow_slower)
    for number, subgraph in enumerate(model.subgraphs):
        packer.pack(number, subgraph)
    if not packer.weights:
        return tflite
    for subgraph in model.subgraphs:
        make_reshapes_static(model, subgraph)
    _strip_names(model, packer.entries)
    if speedup is not predicted_speedup:
        note(model, packer.speedups)
    content = save(model)
    if len(content) >= len(tflite) or not _is_worth_it(content, packer.weights):
        return tflite
    _prove(content, packer.weights)
    return content


@dataclasses.dataclass(frozen=True, eq=False)
class _Kernel:
    """An op that becomes one of ours: its name, its options after the version, and what it reads beside the weight."""

    operator: Any
    name: str
    fields: tuple[int, ...]
    x: int


class _Packer:
    """One pass over a model; `weights` maps each payload to the weight that it stands for."""

    def __init__(self, model: Any, smallest: bool, speedup: Speedup, allow_slower: float) -> None:
        self.model, self.smallest = model, smallest
        self._speedup, self._allow_slower = speedup, allow_slower
        self.weights: dict[bytes, np.ndarray] = {}
        self.speedups: dict[bytes, float] = {}
        self._readers = Readers(model)
        self.entries = {0} | {signature.subgraphIndex for signature in model.signatureDefs or ()}
        self._chosen: dict[Key, Codes | Floats | None] = {}
        self._encoded: dict[tuple[Key, int | None], bytes] = {}
        self._buffers: dict[bytes, int] = {}
        self._zero_biases: set[int] = set()
        self._measured: list[float] = []  # of the readers of one constant

    def pack(self, number: int, subgraph: Any) -> None:
        """Packs one subgraph in place."""
        # Noted first: what goes into a TfcDecode is no constant any more.
        biases = {int(operator.inputs[2]) for operator in subgraph.operators if len(operator.inputs) > 2}
        self._zero_biases = {index for index in biases if index >= 0 and self._is_zero(subgraph.tensors[index])}
        operators = []
        done: set[int] = set()
        for operator in subgraph.operators:
            for index in [int(index) for index in operator.inputs]:
                # A bias may have gone into the payload of the weight before it.
                if index in done or index not in operator.inputs:
                    continue
                done.add(index)
                decode_op = self._pack_constant(number, subgraph, index)
                operators += [] if decode_op is None else [decode_op]
            operators.append(operator)
        subgraph.operators = operators

    def _pack_constant(self, number: int, subgraph: Any, index: int) -> Any:
        """Packs one constant for all of its readers; returns the TfcDecode that they need, or None."""
        readers = self._readers.of(subgraph, index)
        if not readers:
            return None
        tensor = subgraph.tensors[index]
        key = self._readers.key(tensor)
        if tensor.shape is None or self._readers.stays(key):
            return None
        value = constant(self.model, tensor)
        weight = None if value is None else self._choice(key, value)
        if value is None or weight is None:
            return None
        self._measured = []
        kernels = [kernel for reader in readers if (kernel := self._kernel(subgraph, *reader, weight)) is not None]
        others = len(kernels) < len(readers)
        bias = None if others else self._inner_bias(subgraph, kernels, key)
        payload = self._payload(key, weight, bias)
        saved = _stored_bytes(tensor, value) + (0 if bias is None else self.model.buffers[bias].data.size)
        if len(payload) + self._readers.uses(key) * (PAYLOAD_BYTES + DECODE_BYTES * others) >= saved:
            return None
        self.weights[payload] = value
        if self._measured:
            self.speedups[payload] = min(self._measured)
        if payload not in self._buffers:
            self._buffers[payload] = add_constant(self.model, payload)
        source = add_tensor(subgraph, [len(payload)], schema.TensorType.UINT8, self._buffers[payload])
        for kernel in kernels:
            self._use_kernel(kernel, source, bias is not None)
        if not others:
            return None
        tensor.buffer = 0
        decode_op = schema.OperatorT()
        decode_op.inputs, decode_op.outputs = [source], [index]
        self._customize(decode_op, DECODE, ())
        return decode_op

    def _choice(self, key: Key, value: np.ndarray) -> Codes | Floats | None:
        if key not in self._chosen:
            # No payload of so few weights is smaller than they are.
            few = value.nbytes <= PAYLOAD_BYTES + 16
            self._chosen[key] = None if few else choose(value, PACKABLE[key[1]], self._readers.axes(key))
        return self._chosen[key]

    def _payload(self, key: Key, weight: Codes | Floats, bias: int | None) -> bytes:
        if (key, bias) not in self._encoded:
            inner = None if bias is None else np.frombuffer(self.model.buffers[bias].data.tobytes(), "<f4")
            self._encoded[key, bias] = encode(weight, bias=inner, smallest=self.smallest)
        return self._encoded[key, bias]

    def _inner_bias(self, subgraph: Any, kernels: list[_Kernel], key: Key) -> int | None:
        """The buffer of a bias that can travel inside the payload: that of all its ops, and of no other."""
        bias = self._readers.only_bias(key)
        if bias is None or not np.any(self.model.buffers[bias].data):
            return None
        users = {id(kernel.operator) for kernel in kernels}
        for kernel in kernels:
            index = int(kernel.operator.inputs[2])
            its_key = self._readers.key(subgraph.tensors[index])
            # One that the file holds for others, too, would be stored twice.
            if its_key != (bias, schema.TensorType.FLOAT32, key[2][:1]) or not self._readers.is_bias_alone(its_key):
                return None
            readers = self._readers.of(subgraph, index)
            is_ours = all(position == 2 and id(reader) in users for reader, position in readers)
            if not is_ours or index in subgraph.outputs or index in subgraph.inputs:
                return None
        return bias

    def _kernel(self, subgraph: Any, operator: Any, position: int, weight: Codes | Floats) -> _Kernel | None:
        """The custom op that takes this reader's place, or None where it stays and reads decoded weights."""
        builtin = self.model.operatorCodes[operator.opcodeIndex].builtinCode
        if builtin in (Builtin.GATHER, Builtin.EMBEDDING_LOOKUP):
            gathers = _is_embedding(weight) and _gathers_rows(subgraph, operator, builtin, position)
            indices = int(operator.inputs[1 if builtin == Builtin.GATHER else 0]) if gathers else -1
            return _Kernel(operator, EMBEDDING, (), indices) if gathers else None
        found = candidate(self.model, subgraph, operator, position, weight)
        if found is None:
            return None
        speedup = self._speedup(found)
        self._measured.append(speedup)
        fast = speedup * (1 + self._allow_slower) >= 1
        return _Kernel(operator, found.name, found.fields, int(operator.inputs[0])) if fast else None

    def _use_kernel(self, kernel: _Kernel, payload: int, bias_is_inside: bool) -> None:
        operator, inputs = kernel.operator, [kernel.x, payload]
        bias = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
        if bias >= 0 and not bias_is_inside and bias not in self._zero_biases:
            inputs.append(bias)
        operator.inputs = inputs
        self._customize(operator, kernel.name, kernel.fields)

    def _is_zero(self, tensor: Any) -> bool:
        value = constant(self.model, tensor)
        return value is not None and not value.any()

    def _customize(self, operator: Any, name: str, fields: tuple[int, ...]) -> None:
        operator.opcodeIndex = opcode(self.model, Builtin.CUSTOM, name)
        operator.builtinOptions, operator.builtinOptionsType = None, schema.BuiltinOptions.NONE
        operator.customOptions = np.array([OPTIONS_VERSION, *fields], np.uint8)


def _stored_bytes(tensor: Any, value: np.ndarray) -> int:
    return -(-value.size // 2) if tensor.type == schema.TensorType.INT4 else value.nbytes


def _is_embedding(weight: Codes | Floats) -> bool:
    """Whether the kernel reads such a table: codes of floats, scaled by rows."""
    if not isinstance(weight, Codes) or weight.dtype != "float32" or weight.block:
        return False
    return weight.channel_axis in (None, 0)


def _gathers_rows(subgraph: Any, operator: Any, builtin: int, position: int) -> bool:
    """Whether an op gathers whole rows of its constant by int32 indices into float32."""
    gathers = builtin == Builtin.GATHER
    if position != (0 if gathers else 1) or len(operator.inputs) != 2 or len(operator.outputs) != 1:
        return False
    options = operator.builtinOptions
    if gathers and options is not None and (options.axis or options.batchDims):
        return False
    indices = subgraph.tensors[int(operator.inputs[1 if gathers else 0])]
    output = subgraph.tensors[int(operator.outputs[0])]
    return bool(indices.type == schema.TensorType.INT32 and output.type == schema.TensorType.FLOAT32)


def _strip_names(model: Any, entries: set[int]) -> None:
    """Drops every name but those of signatures and of the inputs and outputs of the subgraphs that are run."""
    model.description = None
    for number, subgraph in enumerate(model.subgraphs):
        public = {int(index) for index in (*subgraph.inputs, *subgraph.outputs)} if number in entries else set()
        subgraph.name = None
        for index, tensor in enumerate(subgraph.tensors):
            if index not in public:
                tensor.name = None


def _is_worth_it(content: bytes, weights: dict[bytes, np.ndarray]) -> bool:
    """Whether a packed file is smaller than what it expands to: only then does expanding and packing give it back."""
    # An expanded file holds each weight in half a byte per entry, or more.
    return len(content) < sum(weight.nbytes for weight in weights.values()) // 2 or len(content) < len(expand(content))


def _prove(content: bytes, weights: dict[bytes, np.ndarray]) -> None:
    """Reads the finished file back and compares every weight with the one that was packed.

    Raises:
        PayloadError: A weight does not come back.
    """
    seen = {payload for _, _, payload in payloads(load(content))}
    left = REFERENCE_BUDGET
    for payload, weight in sorted(weights.items(), key=lambda each: each[1].size):
        left -= weight.size
        held = read(payload, reference=left >= 0).weight
        exact = weight.dtype != np.float32 or isinstance(held, Floats)
        if not (np.array_equal(held.tensor().reshape(weight.shape), weight) if exact else matches(held, weight)):
            raise PayloadError(
                "a packed weight must equal the one it stands for",
                f"shape={weight.shape}",
                "Report this model: it is a fault of tfcompress",
            )
    if seen != set(weights):
        raise PayloadError("every payload must be in the finished file", f"{len(seen)} of {len(weights)}")
