"""LiteRT's interpreter with the tfcompress delegate loaded."""

from __future__ import annotations

import functools
import mmap
import os
import platform
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec.library import delegate_path
from tfcompress.errors import InvalidInputError, NativeLibraryError, PayloadError

__all__ = ["Interpreter"]

_NO_SUBGRAPH, _OURS, _PLAIN = "no subgraph", "ours", "plain"
_CPU = Path("/proc/cpuinfo")
# What LiteRT says of files that are no .tflite, or that contradict themselves.
_DAMAGED = (
    "Flatbuffer",
    "model identifier",
    "allocation is null",
    "inconsistent model",
    "specified in schema",
    "out of range",
    "No subgraph",
    "No buffers",
    "Did not get tensors",
    "Missing registration",
)


class Interpreter(litert.Interpreter):  # type: ignore[misc]  # LiteRT ships no types.
    """Runs packed and plain `.tflite` files; LiteRT's interpreter, with the same methods.

    Our delegate comes before every other one: a delegate that needs static shapes would otherwise
    make the runtime prepare our custom ops before they are claimed.

    Args:
        model_path: Path of a `.tflite` file; or
        model_content: its bytes.
        experimental_delegates: Further delegates, applied after ours.
        num_threads: Threads of the CPU kernels, ≥ 1.
        **options: LiteRT's other constructor arguments.

    Raises:
        InvalidInputError: The file is missing or is no valid `.tflite`.
        PayloadError: A payload is damaged: its checksum or its fields contradict its bytes.
        NativeLibraryError: The native library is missing or foreign, or refuses the model or its settings.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        model_content: bytes | None = None,
        experimental_delegates: Sequence[Any] | None = None,
        num_threads: int | None = None,
        **options: Any,
    ) -> None:
        """Opens the file and lets our delegate, then the others, claim its ops."""
        self._source = f"model_path='{os.fspath(model_path)}'" if model_path else "model_content"
        _check_file(self._source, model_path, model_content)
        ours = litert.load_delegate(str(delegate_path()))
        delegates = [ours, *(experimental_delegates or ())]
        path = None if model_path is None else os.fspath(model_path)
        try:
            super().__init__(path, model_content, delegates, num_threads, **options)
        except (RuntimeError, ValueError) as error:
            raise self._explained(error) from None

    def allocate_tensors(self) -> None:
        """Plans the memory; damaged payloads show here at the latest.

        Raises:
            PayloadError: A payload is damaged.
        """
        try:
            super().allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise self._explained(error) from None

    def _explained(self, error: Exception) -> Exception:
        """The same failure as one line of ours; failures that are none of ours stay as they are."""
        reason = " ".join(str(error).split())
        if any(sign in reason for sign in _DAMAGED):
            return InvalidInputError(
                "the model must be a valid .tflite file", f"{self._source} ({reason})", "Convert or copy it again"
            )
        if "payload" in reason.lower():
            return PayloadError(
                "every payload of a packed model must be undamaged",
                f"{self._source} ({reason})",
                "Copy the file again from its source, or pack it anew",
            )
        if "tfcompress:" in reason:
            return NativeLibraryError("the native library must accept the model", f"{self._source} ({reason})")
        return error


def _check_file(source: str, model_path: str | os.PathLike[str] | None, model_content: bytes | None) -> None:
    if model_path is not None and not Path(model_path).is_file():
        raise InvalidInputError(
            "the model must be an existing file", f"model_path='{os.fspath(model_path)}'", "Check the path"
        )
    if model_path is None and not model_content:
        raise InvalidInputError(
            "model_path or model_content must be given", "neither, or empty content", "Give a .tflite file"
        )
    found = _looked_at(model_path, model_content)
    # LiteRT itself dies of such a file.
    if found == _NO_SUBGRAPH:
        raise InvalidInputError(
            "the model must be a valid .tflite file", f"{source} (no subgraph)", "Convert or copy it again"
        )
    if found == _OURS and not _is_fast():
        warnings.warn(
            f"tfcompress: a packed model runs fast on a CPU with AVX2 or on 64-bit Arm. Received: {source}, "
            f"{platform.machine()} without it. The portable kernels give the same results, slower; "
            "`tfcompress expand` makes a file for the stock kernels.",
            RuntimeWarning,
            stacklevel=3,
        )


def _looked_at(model_path: str | os.PathLike[str] | None, model_content: bytes | None) -> str:
    """What a file is, as far as it matters here; one that cannot be read is for LiteRT's verifier to refuse."""
    try:
        if model_path is None:
            return _kind_of(schema.Model.GetRootAs(model_content))
        with Path(model_path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _kind_of(schema.Model.GetRootAs(content))
    except (struct.error, TypeError, ValueError, IndexError):
        return _PLAIN


def _kind_of(model: Any) -> str:
    if model.SubgraphsLength() == 0:
        return _NO_SUBGRAPH
    names = [model.OperatorCodes(index).CustomCode() for index in range(model.OperatorCodesLength())]
    return _OURS if any(name is not None and name.startswith(b"Tfc") for name in names) else _PLAIN


@functools.cache
def _is_fast() -> bool:
    """Whether the CPU has kernels that are written for it."""
    if platform.machine() in ("aarch64", "arm64"):
        return True
    try:
        return " avx2 " in _CPU.read_text(encoding="utf-8", errors="replace").replace("\n", " ")
    except OSError:
        return True  # the delegate itself asks the CPU; only the warning needs this file
