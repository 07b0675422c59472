"""Finds the native library and proves that it is ours, for this machine and of this version."""

from __future__ import annotations

import ctypes
import os
import platform
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
    path = Path(os.environ.get("TFC_DELEGATE_PATH") or Path(__file__).with_name(_NAME))
    load_library(path)
    return path


def load_library(path: str | Path) -> ctypes.CDLL:
    """Loads a native library after checking what it is.

    Raises:
        NativeLibraryError: See `delegate_path`.
    """
    path = Path(path)
    _check_machine(path)
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


def _check_machine(path: Path) -> None:
    """Reads the ELF header: a foreign library gives a clear error instead of the loader's."""
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError as error:
        raise NativeLibraryError(
            "the native library must exist", f"library='{path}' ({error.strerror})", _REMEDY
        ) from None
    if header[:4] != b"\x7fELF" or len(header) < 20:
        raise NativeLibraryError("the native library must be an ELF shared object", f"library='{path}'", _REMEDY)
    machine = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    name = _ELF_MACHINES.get(machine, f"machine {machine}")
    if name != _this_machine():
        raise NativeLibraryError(
            f"the native library must be built for {_this_machine()}", f"library='{path}' built for {name}", _REMEDY
        )


def _this_machine() -> str:
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
