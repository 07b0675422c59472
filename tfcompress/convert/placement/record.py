"""What was measured when a file was tuned, kept in the file's metadata: the speed-up of each weight's kernel."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfcompress.convert.graph import add_constant

__all__ = ["forget", "note", "noted"]

NAME = b"tfcompress.speedups"


def note(model: Any, speedups: Mapping[bytes, float]) -> None:
    """Writes the speed-up of each payload into a model, to two digits.

    Args:
        model: A `schema.ModelT`.
        speedups: Time of XNNPACK over time of our kernel, by payload.
    """
    entry = schema.MetadataT()
    text = {_key(payload): float(f"{speedup:.3g}") for payload, speedup in speedups.items()}
    entry.name, entry.buffer = NAME, add_constant(model, json.dumps(text, separators=(",", ":")).encode())
    model.metadata = [*(model.metadata or ()), entry]


def noted(model: Any, payload: bytes) -> float | None:
    """The speed-up that was measured for a payload; None where none was.

    Args:
        model: A loaded model.
        payload: The payload's bytes.
    """
    for entry in model.metadata or ():
        if entry.name == NAME and 0 <= entry.buffer < len(model.buffers):
            data = model.buffers[entry.buffer].data
            try:
                found = json.loads(bytes(() if data is None else data)).get(_key(payload))
            except (ValueError, AttributeError):
                return None
            return float(found) if isinstance(found, (int, float)) else None
    return None


def forget(model: Any) -> None:
    """Drops what `note` wrote."""
    model.metadata = [entry for entry in model.metadata or () if entry.name != NAME] or None


def _key(payload: bytes) -> str:
    return f"{zlib.crc32(payload):08x}"
