"""Writes corpus/ from the golden payloads of tests/codec: for libFuzzer, one input a file.

Run it when golden payloads have been added: python tests/native/fuzz/make_corpus.py
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tfcompress import codec

HERE = Path(__file__).parent
GOLDEN = HERE.parents[1] / "codec" / "golden"
EVERY_FORM = ("uniform_4",)
OPS = {"TfcFullyConnected": 0, "TfcConv2D": 1, "TfcDecode": 2, "TfcEmbedding": 3}
OPTIONS = {0: 3, 1: 7, 2: 1, 3: 1}


def graph(op: int, *, arithmetic: int = 0) -> bytes:
    """The bytes in front of a payload that prepare_fuzz.cc makes a sound graph of.

    Op, form, bias, wiring and arithmetic; a 1 for each option; 24 choices of which 255 keeps what is expected.
    """
    options = bytearray(OPTIONS[op])
    if op in (0, 1):
        options[1] = 128  # no activation
    return bytes([op, 0, 0, 0, arithmetic, *options]) + bytes([255] * 24)


def shaped(payload: bytes, rank: int) -> bytes:
    """The payload of the same weight [4, 3, 8] as a matrix, or as a filter of height 1."""
    read = codec.read(payload)
    shape = (4, 24) if rank == 2 else (4, 1, 3, 8)
    field = "values" if read.weight.encoding == "float" else "symbols"
    changes = {field: getattr(read.weight, field).reshape(shape)}
    if getattr(read.weight, "channel_axis", None):  # of an inner axis, which is another one now
        changes |= {"channel_axis": None, "scale": read.weight.scale[:1]}
    return codec.encode(replace(read.weight, **changes), bias=read.bias)


def main() -> None:
    """Writes both directories anew."""
    for name in ("payload", "prepare"):
        directory = HERE / "corpus" / name
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.iterdir():
            old.unlink()
    for path in sorted(GOLDEN.glob("*.npz")):
        with np.load(path) as golden:
            payloads = {key: golden[key].tobytes() for key in golden.files if golden[key].dtype == np.uint8}
        for key, payload in payloads.items():
            if key in ("as_chosen", "plain_dense", "rans_dense") or path.stem in EVERY_FORM:
                (HERE / "corpus" / "payload" / f"{path.stem}-{key}").write_bytes(payload)
        for op, number in OPS.items():
            for arithmetic, key in enumerate(("as_chosen", "with_bias")):
                if key == "with_bias" and path.stem not in EVERY_FORM:
                    continue
                payload = shaped(payloads[key], 4 if op == "TfcConv2D" else 2)
                content = graph(number, arithmetic=arithmetic) + payload
                (HERE / "corpus" / "prepare" / f"{path.stem}-{key}-{op}").write_bytes(content)


if __name__ == "__main__":
    main()
