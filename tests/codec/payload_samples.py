"""Small weights of every encoding, and every way to write one."""

from __future__ import annotations

import math

import numpy as np

from tfcompress.codec import Codes, Floats
from tfcompress.codec.choice import Plan
from tfcompress.codec.codes import levels_of
from tfcompress.codec.zeros import DENSE, Zeros

ENCODINGS = (
    *[("uniform", num_bits) for num_bits in range(2, 9)],
    *[("palette", num_bits) for num_bits in range(1, 9)],
    ("ternary", 2),
    ("binary", 1),
    *[("power_of_two", num_bits) for num_bits in range(3, 7)],
    *[("float", 9 + kept) for kept in (0, 1, 7, 10, 23)],
)
SHAPES = ((1,), (13,), (6, 16), (3, 7, 32), (2, 3, 3, 8), (1, 1, 96))


def sample(
    encoding: str,
    num_bits: int,
    shape: tuple[int, ...] = (6, 16),
    *,
    sparsity: float = 0.5,
    scale: str = "channel",
    dtype: str = "float32",
    seed: int = 0,
) -> Codes | Floats:
    """A random weight; its zeros come in groups of 4 of which at most 2 are not zero, where there are any."""
    rng = np.random.default_rng([seed, num_bits, *shape])
    if encoding == "float":
        return Floats(_floats(rng, num_bits - 9, shape, sparsity), dtype)
    codebook = None
    if encoding == "palette":
        size = max(2**num_bits - int(rng.integers(2)), 1)
        codebook = np.unique(np.round(rng.normal(size=4 * size), 4).astype(np.float32))[:size]
        codebook[codebook.size // 2] = 0
        codebook = np.unique(codebook + np.float32(0))
    levels = levels_of(encoding, num_bits, codebook)
    symbols = rng.integers(0, levels.size, shape).astype(np.uint8)
    zero = np.flatnonzero(levels == 0)
    if zero.size:
        symbols[_zeros(rng, shape, sparsity)] = zero[0]
    axis, block, scales = None, 0, None
    if scale == "tensor":
        scales = np.array([0.375], np.float32)
    elif scale == "channel":
        axis = len(shape) - 1
        scales = rng.uniform(0.01, 2, shape[-1]).astype(np.float32)
    elif scale == "signed":
        axis = 0
        scales = rng.uniform(0.01, 2, shape[0]).astype(np.float32) * np.where(np.arange(shape[0]) % 2, 1, -1)
        scales = scales.astype(np.float32)
    elif scale == "block":
        axis, block = 0, shape[-1] // 2
        scales = rng.uniform(0.01, 2, math.prod(shape) // block).astype(np.float32)
    return Codes(symbols, num_bits, scales, axis, codebook, encoding, block, dtype)


def _zeros(rng: np.random.Generator, shape: tuple[int, ...], sparsity: float) -> np.ndarray:
    count = math.prod(shape)
    zeros = rng.random(count) < sparsity
    if sparsity and count % 4 == 0:
        order = rng.permuted(np.tile([True, True, False, False], (count // 4, 1)), axis=1)
        zeros |= order.reshape(-1)
    return zeros.reshape(shape)


def _floats(rng: np.random.Generator, kept: int, shape: tuple[int, ...], sparsity: float) -> np.ndarray:
    bits = rng.normal(size=shape).astype(np.float32).view(np.uint32)
    bits &= np.uint32((0xFFFFFFFF << (23 - kept)) & 0xFFFFFFFF)
    bits.reshape(-1)[0] |= np.uint32(1 << (23 - kept) & 0x7FFFFF)  # the last kept bit is in use
    values = bits.view(np.float32)
    if sparsity:
        zeros = _zeros(rng, shape, sparsity)
        zeros.reshape(-1)[0] = False
        values[zeros] = 0
    return values


def zero_forms(weight: Codes | Floats) -> list[Zeros]:
    """Every form of zeros that can hold the weight."""
    zero = 0 if isinstance(weight, Floats) else weight.zero_symbol
    if zero is None:
        return [DENSE]
    row = math.prod(weight.shape[1:])
    symbols = weight.exponents() if isinstance(weight, Floats) else weight.symbols
    forms = [DENSE, Zeros("bitmap"), *[Zeros("run_length", num_bits) for num_bits in (1, 2, 3, 8)]]
    forms += [Zeros("blocks", size) for size in sorted({2, 3, 8, row}) if size > 1 and row % size == 0]
    for group in (4, 8, 16, 32):
        if row % group == 0:
            most = int(np.count_nonzero(symbols.reshape(-1, group) != zero, axis=1).max())
            forms += [
                Zeros("n_of_m", kept, group) for kept in sorted({max(most, 1), group - 1}) if most <= kept < group
            ]
    return forms


def plans(weight: Codes | Floats) -> list[Plan]:
    """Every coder with every form of zeros that it can write."""
    forms = zero_forms(weight)
    with_side = [Plan(coder, zeros) for coder in ("plain", "rans") for zeros in forms]
    of_bits = [zeros for zeros in forms if zeros.form not in ("bitmap", "run_length")]
    return with_side + [Plan(coder, zeros) for coder in ("adaptive", "steady") for zeros in of_bits]


def assert_same(one: Codes | Floats, other: Codes | Floats) -> None:
    """Equal in every field and bit."""
    assert type(one) is type(other)
    for name, value in vars(other).items():
        mine = getattr(one, name)
        if isinstance(value, np.ndarray):
            assert mine.dtype == value.dtype, name
            np.testing.assert_array_equal(mine, value, err_msg=name)
        else:
            assert mine == value, name
