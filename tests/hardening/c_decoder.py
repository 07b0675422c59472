"""The stand-alone C11 decoder as a process under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcompress.codec import Codes, Floats

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "tfcompress" / "native" / "c"
PROGRAM = ROOT / "tests" / "native" / "c_decoder_main.c"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


def statuses() -> list[str]:
    """The names of tfc_status in order."""
    text = (SOURCES / "tfc_decoder.h").read_text()
    body = re.search(r"typedef enum tfc_status \{(.*?)\}", text, re.DOTALL)
    assert body
    return re.findall(r"TFC_\w+", body[1])


def build(
    folder: Path,
    source: Path = SOURCES / "tfc_decoder.c",
    compiler: str = "cc",
    flags: tuple[str, ...] = SANITIZE,
) -> Path:
    """Compiles decoder and program with every warning an error."""
    program = folder / "c_decoder"
    files = [str(source), str(PROGRAM)]
    command = [compiler, "-std=c11", "-O1", "-g", *WARNINGS, *flags, f"-I{SOURCES}", *files, "-o", str(program)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise AssertionError(result.stderr)
    return program


def tensor_bytes(weight: Codes | Floats) -> bytes:
    """The bytes of the TFLite tensor of a weight: int4 takes half a byte."""
    tensor = weight.tensor()
    if weight.dtype != "int4":
        return bytes(tensor.tobytes())
    nibbles = np.append(tensor.reshape(-1).view(np.uint8) & 15, np.zeros(tensor.size % 2, np.uint8))
    return bytes((nibbles[::2] | nibbles[1::2] << 4).astype(np.uint8).tobytes())


@dataclass(frozen=True)
class Answer:
    """What the decoder said to one payload."""

    status: str
    tensor: bytes = b""
    symbols: bytes = b""
    bias: bytes = b""

    @property
    def decoded(self) -> bool:
        """Whether the payload was accepted."""
        return self.status == "TFC_OK"


class CDecoder:
    """A running decoder; a sanitizer report ends it, and shows in the next answer.

    Args:
        program: What `build` made.
        *emulator: The command that runs it where this machine cannot.
        order: Byte order of the program's machine, as in `struct`.
    """

    def __init__(self, program: Path, *emulator: str, order: str = "<") -> None:
        self._order = order
        self._names = dict(enumerate(statuses())) | {1000: "OVER_LIMIT"}
        self._process = subprocess.Popen(
            [*emulator, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    def decode(self, payload: bytes) -> Answer:
        """Decodes one payload, its tensor and its symbols."""
        assert self._process.stdin
        self._process.stdin.write(struct.pack(self._order + "I", len(payload)) + payload)
        status = self._names[struct.unpack(self._order + "I", self._read(4))[0]]
        if status != "TFC_OK":
            return Answer(status)
        return Answer(status, self._sized(), self._sized(), self._sized())

    def close(self) -> None:
        """Ends the process; raises if it had anything to say."""
        _, errors = self._process.communicate()
        if self._process.returncode or errors:
            raise AssertionError(errors.decode())

    def _sized(self) -> bytes:
        return self._read(struct.unpack(self._order + "Q", self._read(8))[0])

    def _read(self, size: int) -> bytes:
        assert self._process.stdout
        parts = []
        while size:
            part = self._process.stdout.read(size)
            if not part:
                self.close()
                raise AssertionError("The decoder ended without an answer.")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
