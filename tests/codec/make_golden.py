"""Writes tests/codec/golden/: payloads of every encoding, coder and form of zeros, beside their tensors.

Each payload is written once, when what it keeps is new, and never again: `python tests/codec/make_golden.py`
adds the payloads that are missing. A reader of any later release must give the same tensors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from payload_samples import plans, sample

from tfcompress.codec import Codes, Floats, encode
from tfcompress.codec.choice import Plan
from tfcompress.codec.container import encode_as

GOLDEN = Path(__file__).with_name("golden")
SHAPE = (4, 3, 8)
WEIGHTS = {
    "uniform_2": sample("uniform", 2, SHAPE),
    "uniform_4": sample("uniform", 4, SHAPE),
    "uniform_4_blocks": sample("uniform", 4, SHAPE, scale="block"),
    "uniform_5": sample("uniform", 5, SHAPE, scale="tensor"),
    "uniform_8": sample("uniform", 8, SHAPE),
    "uniform_8_int8": sample("uniform", 8, SHAPE, scale="none", dtype="int8"),
    "uniform_4_int4": sample("uniform", 4, SHAPE, scale="none", dtype="int4"),
    "palette_1": sample("palette", 1, SHAPE),
    "palette_4": sample("palette", 4, SHAPE, scale="none"),
    "palette_2_signed": sample("palette", 2, SHAPE, scale="signed"),
    "palette_8": sample("palette", 8, SHAPE, scale="tensor"),
    "ternary": sample("ternary", 2, SHAPE),
    "binary": sample("binary", 1, SHAPE),
    "power_of_two_4": sample("power_of_two", 4, SHAPE),
    "power_of_two_5_float16": sample("power_of_two", 5, SHAPE, scale="none", dtype="float16"),
    "float_32": sample("float", 32, SHAPE),
    "float_16": sample("float", 16, SHAPE),
    "float_19_float16": sample("float", 19, SHAPE, dtype="float16"),
}


def payloads(weight: Codes | Floats, bias: np.ndarray) -> dict[str, bytes]:
    """Every way to write a weight, by its name."""
    written = {"as_chosen": encode(weight), "smallest": encode(weight, smallest=True)}
    if weight.dtype.startswith("float"):
        written["with_bias"] = encode(weight, bias=bias)
    return written | {plan_name(plan): encode_as(weight, plan) for plan in plans(weight)}


def plan_name(plan: Plan) -> str:
    """Coder, form and its sizes."""
    return "_".join([plan.coder, plan.zeros.form, *[str(size) for size in (plan.zeros.a, plan.zeros.b) if size]])


def main() -> None:
    """Writes the payloads that are missing."""
    GOLDEN.mkdir(exist_ok=True)
    bias = np.array([0.5, -1.0, 0.0, 3e38], np.float32)
    for name, weight in WEIGHTS.items():
        file = GOLDEN / f"{name}.npz"
        kept = dict(np.load(file)) if file.exists() else {"tensor": weight.tensor(), "bias": bias}
        arrays = {key: np.frombuffer(value, np.uint8) for key, value in payloads(weight, bias).items()}
        if arrays.keys() - kept.keys():
            np.savez_compressed(file, **{**arrays, **kept})


if __name__ == "__main__":
    main()
