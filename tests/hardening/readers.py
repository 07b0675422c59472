"""What every reader says of one payload or one file, and whether they agree."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert
from c_decoder import CDecoder, tensor_bytes
from forging import take_apart
from mutants import payloads_of

from tfcompress.codec import Codes, Floats, read
from tfcompress.convert import audit, expand, inspect
from tfcompress.convert.graph import load
from tfcompress.errors import PayloadError, TfcompressError
from tfcompress.runtime import Interpreter, delegate_path

__all__ = ["Readers"]

MOST_WEIGHTS = 1 << 22  # of a mutant that the native decoder is asked for
LARGEST = 1e30  # weight of a file whose outputs are compared
TOLERANCE = 1e-4  # of outputs in float32 that are summed in another order, relative to the largest


class Readers:
    """All readers of the process. Faults are lines of text; none means that all is well."""

    def __init__(self, c_decoder: CDecoder) -> None:
        self._c_decoder = c_decoder
        self._library = ctypes.CDLL(str(delegate_path()))

    def faults_of_payload(self, payload: bytes) -> Iterator[str]:
        """Where reference, native library and C11 decoder contradict each other on one payload."""
        try:
            weight: Codes | Floats | None = read(payload, reference=True).weight
        except PayloadError:
            weight = None
        answer = self._c_decoder.decode(payload)
        if answer.status == "OVER_LIMIT":
            return
        if answer.decoded != (weight is not None):
            yield f"reference {_verdict(weight)}, C11 says {answer.status}"
            return
        native = self._native(payload, _count(payload) if weight is None else weight.weight().size)
        if (native is None) != (weight is None):
            yield f"reference {_verdict(weight)}, native {_verdict(native)}"
        elif weight is not None and native is not None:
            if answer.tensor != tensor_bytes(weight):
                yield "C11 decodes another tensor than the reference"
            if native.tobytes() != weight.weight().tobytes():
                yield "native decodes another tensor than the reference"

    def faults_of_file(self, content: bytes) -> Iterator[str]:
        """Where the tools and the delegate fail in a way that they must not, or compute different outputs."""
        model, fault = _attempt(lambda: load(content))
        yield from fault
        for _, _, buffer in [] if model is None else payloads_of(model):
            data = model.buffers[buffer].data
            if data is not None and len(data):
                yield from self.faults_of_payload(np.asarray(data, np.uint8).tobytes())
        _, fault = _attempt(lambda: inspect(content))
        yield from fault
        _, fault = _attempt(lambda: audit(content))
        yield from fault
        expanded, fault = _attempt(lambda: expand(content))
        yield from fault
        # MemoryError is LiteRT's own, of a tensor that is larger than all memory.
        refused = (RuntimeError, ValueError, MemoryError)
        outputs, fault = _attempt(lambda: _run(Interpreter(model_content=content, num_threads=1)), *refused)
        yield from fault
        if expanded is None or outputs is None or expanded == content or not _has_outputs(model):
            return
        plain, fault = _attempt(lambda: _run_plain(expanded), *refused)
        yield from fault
        if plain is None:
            yield "the delegate runs the file, the stock interpreter refuses what it expands to"
        elif not _close(outputs, plain) and _close(_run_plain(expanded, xnnpack=False), plain):
            # XNNPACK leaves some tensors unwritten that a damaged file calls outputs: they have no right value.
            yield "the delegate's outputs are not those of the expanded file"

    def run_stock(self, content: bytes) -> Iterator[str]:
        """Runs the file, and what it expands to, without our delegate; only a crash says something."""
        refused = (RuntimeError, ValueError, MemoryError)
        _, fault = _attempt(lambda: litert.Interpreter(model_content=content, num_threads=1), *refused)
        yield from fault
        _, fault = _attempt(lambda: _run_plain(expand(content)), *refused)
        yield from fault

    def _native(self, payload: bytes, count: int) -> np.ndarray | None:
        out, error = np.full(count, np.nan, np.float32), ctypes.create_string_buffer(400)
        place = out.ctypes.data_as(ctypes.c_void_p)
        sizes = [ctypes.c_size_t(each) for each in (len(payload), count, len(error))]
        failed = self._library.tfc_decode(payload, sizes[0], place, sizes[1], error, sizes[2])
        return None if failed else out


def _verdict(weight: object) -> str:
    return "refuses" if weight is None else "accepts"


def _count(payload: bytes) -> int:
    """The number of weights that a refused payload speaks of, as far as it can be read."""
    try:
        count = math.prod(take_apart(payload)["dims"])
    except (IndexError, ValueError, KeyError):
        return 1
    return count if 0 < count < MOST_WEIGHTS else 1


def _has_outputs(model: Any) -> bool:
    """Whether a file has outputs to compare.

    Every tensor must be written before it is read, and once; and sums must not overflow, which depends on their order.
    """
    for _, _, buffer in payloads_of(model):
        if np.abs(read(np.asarray(model.buffers[buffer].data, np.uint8).tobytes()).weight.weight()).max() > LARGEST:
            return False
    for subgraph in model.subgraphs:
        known = {-1, *(int(index) for index in subgraph.inputs)}
        for index, tensor in enumerate(subgraph.tensors):
            data = model.buffers[tensor.buffer].data
            if data is not None and len(data):
                known.add(index)
        for operator in subgraph.operators:
            outputs = [int(index) for index in operator.outputs]
            if not {int(index) for index in operator.inputs} <= known or known & set(outputs):
                return False
            known |= set(outputs)
        if not {int(index) for index in subgraph.outputs} <= known:
            return False
    return True


def _attempt(call: Callable[[], Any], *allowed: type[Exception]) -> tuple[Any, list[str]]:
    """The result or None, and the fault if the call fails otherwise than by an error of ours or an allowed one."""
    try:
        return call(), []
    except (TfcompressError, *allowed):
        return None, []
    except Exception as error:  # Whatever it is, it is what is looked for.
        return None, [f"{type(error).__name__}: {error}"]


def _run(interpreter: Any) -> list[np.ndarray]:
    """The outputs for seeded inputs."""
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        shape = tuple(detail["shape"])
        if math.prod(shape) > MOST_WEIGHTS:
            raise ValueError(f"An input of shape {shape} is not tried.")
        if np.issubdtype(detail["dtype"], np.floating):
            value = rng.normal(size=shape).astype(detail["dtype"])
        else:
            value = rng.integers(0, 10, shape).astype(detail["dtype"])
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(each["index"])) for each in interpreter.get_output_details()]


def _run_plain(tflite: bytes, *, xnnpack: bool = True) -> list[np.ndarray]:
    kernels = litert.OpResolverType
    resolver = kernels.AUTO if xnnpack else kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return _run(litert.Interpreter(model_content=tflite, num_threads=1, experimental_op_resolver_type=resolver))


def _close(outputs: list[np.ndarray], plain: list[np.ndarray]) -> bool:
    for one, other in zip(outputs, plain, strict=True):
        if one.shape != other.shape:
            return False
        finite = np.isfinite(other)
        if not np.issubdtype(one.dtype, np.floating):
            finite = np.ones(other.shape, bool)
        largest = np.abs(other[finite], dtype=np.float64).max(initial=1e-30)
        if not (np.abs(one[finite].astype(np.float64) - other[finite]) <= TOLERANCE * largest).all():
            return False
    return True
