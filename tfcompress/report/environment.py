"""Where a result was made: processor, versions, native library."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from tfcompress import __version__

__all__ = ["environment"]

_PACKAGES = {
    "TensorFlow": "tensorflow",
    "Keras": "keras",
    "TFMOT": "tensorflow-model-optimization",
    "LiteRT": "ai-edge-litert",
    "NumPy": "numpy",
}


def environment() -> dict[str, str]:
    """The facts that a figure depends on, as name -> text."""
    found = {"CPU": _processor(), "System": f"{platform.system()} {platform.machine()}"}
    found |= {"tfcompress": __version__, "Python": platform.python_version()}
    for name, package in _PACKAGES.items():
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
