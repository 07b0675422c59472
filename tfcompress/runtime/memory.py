"""Peak memory of one model, measured in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tfcompress.codec.library import delegate_path
from tfcompress.errors import InvalidInputError
from tfcompress.runtime.interpreter import Interpreter

__all__ = ["peak_memory", "peak_memory_here"]

_CHILD = (
    "import sys; from tfcompress.runtime import memory; print(memory.peak_memory_here(sys.argv[1], int(sys.argv[2])))"
)


def peak_memory(model_path: str | os.PathLike[str], num_threads: int = 1) -> int:
    """Bytes of resident memory that loading and running a model adds to a process, at the peak.

    A fresh process imports the runtime, resets its high-water mark, loads the model, runs it twice
    and reports `VmHWM` after minus `VmRSS` before. Pages of the mapped file count while resident.

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
    return int(done.stdout.split()[-1])


def peak_memory_here(model_path: str, num_threads: int) -> int:
    """What `peak_memory` runs in its fresh process; the figure is only right there."""
    _reset_high_water_mark()
    before = _status_bytes("VmRSS")
    interpreter = Interpreter(model_path=model_path, num_threads=num_threads)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    for _ in range(2):
        interpreter.invoke()
    return max(_status_bytes("VmHWM") - before, 0)


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
