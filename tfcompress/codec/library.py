"""Finds the native library and proves that it is ours, for this machine and of this version."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

from tfcompress import __version__
from tfcompress.errors import NativeLibraryError

__all__ = ["delegate_path", "load_library"]

_NAME = "libtfc_delegate.so"
_ELF_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_REMEDY = "Reinstall tfcompress with `pip install .`, or set TFC_DELEGATE_PATH to a build for this machine"


def delegate_path() -> Path:
    """Path of the native library: `$TFC_DELEGATE_PATH` when set, else the one in the package.

    Raises:
        NativeLibraryError: There is no such file, it is built for another machine, it is no delegate
            of tfcompress, or its version is not the package's.
    """
    path = Path(os.environ.get("TFC_DELEGATE_PATH") or Path(__file__).parent.parent / "runtime" / _NAME)
    load_library(path)
    return path


def load_library(path: str | Path) -> ctypes.CDLL:
    """Loads a native library after checking what it is.

    Raises:
        NativeLibraryError: See `delegate_path`.
    """
    path = Path(path)
    content = _read(path)
    _check_machine(path, content)
    if _end_of_segments(content) > len(content):
        # The loader maps what is missing and the process dies of SIGBUS.
        raise NativeLibraryError("the native library must be whole", f"library='{path}', {len(content)} bytes", _REMEDY)
    try:
        library = ctypes.CDLL(str(path))
        version_function = library.tfc_version
    except (OSError, AttributeError) as error:
        raise NativeLibraryError(
            "the native library must be tfcompress' own delegate", f"library='{path}' ({error})", _REMEDY
        ) from None
    version_function.restype = ctypes.c_char_p
    version = (version_function() or b"").decode("ascii", "replace")
    if version != __version__:
        raise NativeLibraryError(
            f"the native library must have the package's version, {__version__}",
            f"library='{path}' of version '{version}'",
            _REMEDY,
        )
    return library


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NativeLibraryError(
            "the native library must exist", f"library='{path}' ({error.strerror})", _REMEDY
        ) from None


def _check_machine(path: Path, content: bytes) -> None:
    """Reads the ELF header: a foreign library gives a clear error instead of the loader's."""
    if content[:4] != b"\x7fELF" or len(content) < 64:
        raise NativeLibraryError("the native library must be an ELF shared object", f"library='{path}'", _REMEDY)
    machine = int.from_bytes(content[18:20], "little" if content[5] == 1 else "big")
    name = _ELF_MACHINES.get(machine, f"machine {machine}")
    if name != _this_machine():
        raise NativeLibraryError(
            f"the native library must be built for {_this_machine()}", f"library='{path}' built for {name}", _REMEDY
        )


def _end_of_segments(content: bytes) -> int:
    """Bytes that the program headers of a 64-bit little-endian ELF file speak of."""
    (offset,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    end = int(offset + size * count)
    if end > len(content):
        return end
    for index in range(count):
        start, _, _, length = struct.unpack_from("<QQQQ", content, offset + index * size + 8)
        end = max(end, start + length)
    return end


def _this_machine() -> str:
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
