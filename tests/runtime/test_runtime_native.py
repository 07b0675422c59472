import ctypes
from pathlib import Path

import ai_edge_litert
import pytest

import tfcompress
from tfcompress.codec import library as native
from tfcompress.errors import NativeLibraryError
from tfcompress.runtime import delegate_path, load_library


def test_the_packaged_library_is_ours_and_of_this_version():
    library = load_library(delegate_path())
    library.tfc_version.restype = ctypes.c_char_p
    assert library.tfc_version().decode() == tfcompress.__version__


def test_the_environment_variable_wins(tmp_path, monkeypatch):
    copy = tmp_path / "elsewhere.so"
    copy.write_bytes(delegate_path().read_bytes())
    monkeypatch.setenv("TFC_DELEGATE_PATH", str(copy))
    assert delegate_path() == copy


def test_a_missing_library(tmp_path, monkeypatch):
    monkeypatch.setenv("TFC_DELEGATE_PATH", str(tmp_path / "none.so"))
    with pytest.raises(NativeLibraryError, match=r"must exist.*none\.so.*TFC_DELEGATE_PATH"):
        delegate_path()


def test_a_library_for_another_machine(tmp_path):
    foreign = bytearray(delegate_path().read_bytes())
    foreign[18:20] = (8).to_bytes(2, "little")  # MIPS
    path = tmp_path / "foreign.so"
    path.write_bytes(foreign)
    with pytest.raises(NativeLibraryError, match=r"must be built for .*machine 8"):
        load_library(path)


def test_a_file_that_is_no_library(tmp_path):
    path = tmp_path / "text.so"
    path.write_text("hello, I am a text file")
    with pytest.raises(NativeLibraryError, match="must be an ELF shared object"):
        load_library(path)


def test_a_truncated_library(tmp_path):
    path = tmp_path / "half.so"
    path.write_bytes(delegate_path().read_bytes()[:5000])
    with pytest.raises(NativeLibraryError, match="must be whole"):
        load_library(path)


def test_a_library_that_is_not_ours():
    other = Path(ai_edge_litert.__file__).parent / "libpywrap_litert_common.so"
    with pytest.raises(NativeLibraryError, match="must be tfcompress' own delegate"):
        load_library(other)


def test_a_library_of_another_version(monkeypatch):
    monkeypatch.setattr(native, "__version__", "9.9.9")
    with pytest.raises(NativeLibraryError, match=r"package's version, 9\.9\.9.*of version '0"):
        delegate_path()
