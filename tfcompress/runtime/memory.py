"""What loading one model costs, in memory and in time, measured in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tfcompress.codec.library import delegate_path
from tfcompress.errors import InvalidInputError
from tfcompress.runtime.interpreter import Interpreter

__all__ = ["LoadFigures", "load_figures", "load_figures_here", "peak_memory"]

_CHILD = (
    "import dataclasses, json, sys; from tfcompress.runtime import memory; "
    "print(json.dumps(dataclasses.asdict(memory.load_figures_here(sys.argv[1], int(sys.argv[2])))))"
)


@dataclasses.dataclass(frozen=True)
class LoadFigures:
    """What one model adds to a fresh process.

    Attributes:
        peak_ram_bytes: Resident memory at the peak of loading and two inferences. Pages of the mapped file
            count while resident.
        anonymous_bytes: Resident memory after them that is no page of a file: what the model keeps.
        load_ms: Wall time from the path to an interpreter that is ready, the file not in the page cache
            where the system can drop it.
        first_ms: Wall time of the first inference.
    """

    peak_ram_bytes: int
    anonymous_bytes: int
    load_ms: float
    first_ms: float


def load_figures(model_path: str | os.PathLike[str], num_threads: int = 1) -> LoadFigures:
    """Loads and runs a model in a fresh process, which imports the runtime before it starts to count.

    Args:
        model_path: The `.tflite` file.
        num_threads: Threads of the interpreter, ≥ 1.

    Raises:
        InvalidInputError: The model does not load or run.
    """
    environment = {**os.environ, "TFC_DELEGATE_PATH": str(delegate_path())}
    command = [sys.executable, "-c", _CHILD, os.fspath(model_path), str(num_threads)]
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InvalidInputError(
            "the model must load and run in a process of its own",
            f"model_path='{os.fspath(model_path)}' ({last})",
            "Check the file with `tfcompress inspect`",
        )
    return LoadFigures(**json.loads(done.stdout.splitlines()[-1]))


def peak_memory(model_path: str | os.PathLike[str], num_threads: int = 1) -> int:
    """Bytes of resident memory that loading and running a model adds to a process, at the peak.

    Args:
        model_path: The `.tflite` file.
        num_threads: Threads of the interpreter, ≥ 1.

    Raises:
        InvalidInputError: The model does not load or run.
    """
    return load_figures(model_path, num_threads).peak_ram_bytes


def load_figures_here(model_path: str, num_threads: int) -> LoadFigures:
    """What `load_figures` runs in its fresh process; the figures are only right there."""
    _drop_from_page_cache(model_path)
    _reset_high_water_mark()
    before, anonymous = _status_bytes("VmRSS"), _status_bytes("RssAnon")
    begin = time.perf_counter()
    interpreter = Interpreter(model_path=model_path, num_threads=num_threads)
    interpreter.allocate_tensors()
    ready = time.perf_counter()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    start = time.perf_counter()
    interpreter.invoke()
    first = time.perf_counter()
    interpreter.invoke()
    return LoadFigures(
        peak_ram_bytes=max(_status_bytes("VmHWM") - before, 0),
        anonymous_bytes=max(_status_bytes("RssAnon") - anonymous, 0),
        load_ms=1e3 * (ready - begin),
        first_ms=1e3 * (first - start),
    )


def _drop_from_page_cache(path: str) -> None:
    """Asks the system to forget a file's pages; those that others map, or that are not yet written, stay."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return  # the interpreter says what is wrong with the file
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _reset_high_water_mark() -> None:
    """Asks Linux to forget the peak of the imports; where it refuses, that peak stays in the figure."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0
