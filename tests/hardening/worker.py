"""Processes that judge mutants, so that a crash is one mutant's and not the suite's.

As a program it reads mutants from standard input, each a kind ("P" payload, "F" file, "S" file before the stock
interpreter alone), a u32 size and its bytes, and answers each with a u32 size and its faults, one a line.

LiteRT itself crashes on some damaged files: on one without subgraph, or on a DEQUANTIZE of a constant whose output is
declared with another shape. A crash is no fault of ours if LiteRT crashes on the same file without our delegate.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["Worker", "faults_of"]

SECONDS = 40  # for one mutant
ADDRESS_SPACE = 3 << 30  # bytes; a mutant that asks for more gets an error, not the machine's memory
HERE = Path(__file__).resolve().parent
ROOMS = [str(HERE), str(HERE.parent / "codec"), str(HERE.parent / "runtime")]


class Worker:
    """A judging process, started again whenever it dies or hangs."""

    def __init__(self, c_program: Path, log: Path, seconds: float = SECONDS) -> None:
        self._command = [sys.executable, str(HERE / "worker.py"), str(c_program)]
        self._log, self._seconds = log, seconds
        self._process: subprocess.Popen[bytes] | None = None

    def faults(self, kind: str, mutant: bytes) -> list[str]:
        """What is wrong with the readers, shown by one mutant."""
        found = self._ask(kind, mutant)
        crashed = kind == "F" and any(fault.startswith("crash") for fault in found)
        return [] if crashed and any(fault.startswith("crash") for fault in self._ask("S", mutant)) else found

    def _ask(self, kind: str, mutant: bytes) -> list[str]:
        process = self._started()
        assert process.stdin
        try:
            process.stdin.write(kind.encode() + struct.pack("<I", len(mutant)) + mutant)
            size = struct.unpack("<I", self._read(process, 4))[0]
            return self._read(process, size).decode().splitlines()
        except (EOFError, BrokenPipeError):
            return [f"crash: {self._ended(process)}"]
        except TimeoutError:
            process.kill()
            self._ended(process)
            return [f"hang: no answer within {self._seconds} s"]

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            process, self._process = self._process, None
            process.communicate()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(ROOMS), "TFC_ACT": "float"}
            with self._log.open("wb") as log:
                pipe = subprocess.PIPE
                self._process = subprocess.Popen(
                    self._command, stdin=pipe, stdout=pipe, stderr=log, bufsize=0, env=environment
                )
        return self._process

    def _read(self, process: subprocess.Popen[bytes], size: int) -> bytes:
        assert process.stdout
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while size:
                if not selector.select(self._seconds):
                    raise TimeoutError
                part = process.stdout.read(size)
                if not part:
                    raise EOFError
                parts.append(part)
                size -= len(part)
        return b"".join(parts)

    def _ended(self, process: subprocess.Popen[bytes]) -> str:
        """How the process ended, and the last it had to say."""
        self._process = None
        process.communicate()
        code = process.returncode
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return " | ".join([name, *self._log.read_text(errors="replace").splitlines()[-5:]])


def faults_of(
    mutants: Iterable[tuple[str, str, bytes]], c_program: Path, folder: Path, workers: int = 2
) -> Iterator[str]:
    """Judges mutants, given as name, kind and bytes; yields one line per fault, which starts with the name."""
    pool = [Worker(c_program, folder / f"worker_{index}.log") for index in range(workers)]
    shares: list[list[tuple[str, str, bytes]]] = [[] for _ in pool]
    for index, mutant in enumerate(mutants):
        shares[index % workers].append(mutant)

    def judge(index: int) -> list[str]:
        worker = pool[index]
        found = [f"{name}: {fault}" for name, kind, mutant in shares[index] for fault in worker.faults(kind, mutant)]
        worker.close()
        return found

    with ThreadPoolExecutor(workers) as executor:
        for found in executor.map(judge, range(workers)):
            yield from found


def main() -> None:
    """Judges what comes from standard input."""
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    from c_decoder import CDecoder
    from readers import Readers

    decoder = CDecoder(Path(sys.argv[1]))  # Started before the limit: a sanitizer reserves more.
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    readers = Readers(decoder)
    while kind := sys.stdin.buffer.read(1):
        mutant = sys.stdin.buffer.read(struct.unpack("<I", sys.stdin.buffer.read(4))[0])
        judge = {b"P": readers.faults_of_payload, b"F": readers.faults_of_file, b"S": readers.run_stock}[kind]
        faults = "\n".join(" ".join(fault.split()) for fault in judge(mutant)).encode()
        answers.write(struct.pack("<I", len(faults)) + faults)
    decoder.close()


if __name__ == "__main__":
    main()
