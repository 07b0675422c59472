"""Which coder and which form of zeros make a payload small, from counts alone.

Coding a large weight takes seconds, counting its symbols takes tenths of one. So every coder and form
gets an estimate, and only what can win is coded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfcompress.codec.coders.bitpack import packed_size
from tfcompress.codec.coders.rans import count_symbols, estimate_size
from tfcompress.codec.zeros import DENSE, GROUPS, Zeros, gaps_between

__all__ = ["ADAPTIVE_LIMIT", "Plan", "candidates", "plain_plan"]

ADAPTIVE_LIMIT = 2**18  # weights; above, coders of bits take too long to decode
NOISE = {"adaptive": 0.0015, "steady": 0.00003}  # bits lost per bit, for following the last 256 or 16,384 of its kind
FIELDS = 32  # bits of a form's own fields in the header
MARGIN, SLACK = 1.02, 16  # estimates are within 2 % and 16 bytes
TRIED = {"plain": 1, "adaptive": 3, "steady": 1, "rans": 1}  # plans of each coder; exact estimates need one


@dataclass(frozen=True)
class Plan:
    """One way to write symbols."""

    coder: str
    zeros: Zeros


def candidates(
    symbols: np.ndarray,
    num_bits: int,
    alphabet: int,
    zero_symbol: int | None,
    shape: tuple[int, ...],
    smallest: bool,
) -> list[Plan]:
    """The plans that can be the smallest.

    Args:
        symbols: uint8, shape [n].
        num_bits: Width of one symbol.
        alphabet: Number of symbols of the encoding.
        zero_symbol: The symbol of a zero weight, or None.
        shape: The weight's shape.
        smallest: Allow coders of bits above their limit, and rANS below.
    """
    counts = count_symbols(symbols, alphabet)
    structure = _Structure(symbols, counts, zero_symbol, shape)
    large = symbols.size > ADAPTIVE_LIMIT
    sizes = {"plain": _plain_sizes(structure, num_bits)}
    if large or smallest:
        sizes["rans"] = [
            (estimate_size(each) + structure.side_size(zeros), zeros) for each, zeros in structure.value_counts()
        ]
    # Frequencies of 12 bits and 32 states of 4 bytes are too coarse for few rare symbols among many zeros.
    coarse = large and estimate_size(counts) > 1.005 * _entropy(counts) / 8 + 32 + alphabet
    if not large or smallest or coarse:
        counted = list(_bit_counts(structure))
        for coder, noise in NOISE.items():
            sizes[coder] = [((bits + noise * coded) / 8 + 4, zeros) for bits, coded, zeros in counted]
    sized: list[tuple[float, Plan]] = []
    for coder, sizes_of_coder in sizes.items():
        best = sorted(sizes_of_coder, key=lambda each: round(each[0]))[: TRIED[coder]]
        sized += [(size, Plan(coder, zeros)) for size, zeros in best]
    limit = min(size for size, _ in sized) * MARGIN + SLACK
    return [plan for size, plan in sized if size <= limit]


def plain_plan(
    symbols: np.ndarray, num_bits: int, alphabet: int, zero_symbol: int | None, shape: tuple[int, ...]
) -> Plan:
    """The smallest plan without entropy coding; its size is known exactly."""
    structure = _Structure(symbols, count_symbols(symbols, alphabet), zero_symbol, shape)
    return Plan("plain", min(_plain_sizes(structure, num_bits), key=lambda each: each[0])[1])


class _Structure:
    """Where the zeros of a weight are: what every form would have to write."""

    def __init__(
        self, symbols: np.ndarray, counts: np.ndarray, zero_symbol: int | None, shape: tuple[int, ...]
    ) -> None:
        self.count, self.counts, self.zero_symbol = symbols.size, counts, zero_symbol
        self.row = symbols.size // shape[0]
        self.forms: list[Zeros] = []
        if zero_symbol is None or not counts[zero_symbol]:
            return
        self.values = symbols.size - int(counts[zero_symbol])
        self.nonzero = (symbols != zero_symbol).view(np.uint8)
        self.written: dict[int, np.ndarray] = {}
        self.forms.append(Zeros("bitmap"))
        self.forms += self._run_lengths()
        self.forms += self._groups()
        self.forms += self._blocks(shape)

    def _run_lengths(self) -> Iterator[Zeros]:
        """Pays where zeros are many: the gaps between the others are counted once for all widths."""
        if 2 * self.values > self.count:
            return
        entries = np.full(8, self.values)
        for gaps in gaps_between(self.nonzero):
            entries += [int((gaps // ((1 << num_bits) - 1)).sum()) for num_bits in range(1, 9)]
        for num_bits in range(1, 9):
            yield Zeros("run_length", num_bits, int(entries[num_bits - 1]))

    def _groups(self) -> Iterator[Zeros]:
        """n:m for each M, with the smallest N."""
        found, size = self.nonzero, 1
        while size < GROUPS[-1] and self.row % (2 * size) == 0:
            found, size = found[0::2] + found[1::2], 2 * size
            most = int(found.max())
            if size in GROUPS and 0 < most < size:
                yield Zeros("n_of_m", most, size)

    def _blocks(self, shape: tuple[int, ...]) -> Iterator[Zeros]:
        """Blocks of 2, 4, ... 64, and what an index of each leading axis holds."""
        sizes = [2**power for power in range(1, 7)] + [int(np.prod(shape[axis:])) for axis in range(1, len(shape))]
        for size in sorted({size for size in sizes if size >= 2 and self.row % size == 0}):
            half = self.written.get(size // 2) if size % 2 == 0 else None
            if size == 2:
                half = self.nonzero
            if half is None:
                written = np.asarray(self.nonzero.reshape(-1, size).any(axis=1), np.uint8)
            else:
                written = half[0::2] | half[1::2]
            self.written[size] = written
            if 16 * int(np.count_nonzero(written)) <= 15 * written.size:
                yield Zeros("blocks", size)

    def kept(self, zeros: Zeros) -> int:
        """Number of values that a form writes."""
        match zeros.form:
            case "dense":
                return self.count
            case "blocks":
                return zeros.a * int(np.count_nonzero(self.written[zeros.a]))
            case "n_of_m":
                return self.count // zeros.b * zeros.a
        return self.values

    def side_size(self, zeros: Zeros) -> int:
        """Bytes of the side section and of the fields that a form needs."""
        return zeros.side_size(self.count) + (0 if zeros.form == "dense" else 4)

    def value_counts(self) -> Iterator[tuple[np.ndarray, Zeros]]:
        """For every form the counts of the values that it writes."""
        for zeros in [DENSE, *self.forms]:
            counts = self.counts.copy()
            if self.zero_symbol is not None:
                counts[self.zero_symbol] -= self.count - self.kept(zeros)
            yield counts, zeros


def _plain_sizes(structure: _Structure, num_bits: int) -> list[tuple[float, Zeros]]:
    forms = [DENSE, *structure.forms]
    return [(packed_size(structure.kept(zeros), num_bits) + structure.side_size(zeros), zeros) for zeros in forms]


def _entropy(counts: np.ndarray) -> float:
    """Bits of a sequence with these counts, whatever its order."""
    used = counts[counts > 0].astype(np.float64)
    return float((used * np.log2(used.sum() / used)).sum())


def _model_bits(tokens: np.ndarray) -> tuple[float, float]:
    """What tokens `2 * model + bit` with these counts cost: in bits, without noise, and their number."""
    pairs = tokens.reshape(-1, 2)
    seen = pairs.sum(axis=1)
    # Learning a probability costs about half a bit per doubling, and one to begin with.
    learning = (np.log2(seen[seen > 0]) / 2 + 1).sum()
    return float(learning) + sum(_entropy(pair) for pair in pairs), float(seen.sum())


def _bit_counts(structure: _Structure) -> Iterator[tuple[float, float, Zeros]]:
    """For every form of the coders of bits what it costs, in bits without noise, and how many bits it codes."""
    counts = structure.counts.copy()
    if structure.zero_symbol is not None:
        counts[structure.zero_symbol] = 0
    values = int(counts.sum())
    used = int(np.count_nonzero(counts))
    tree = _entropy(counts) + used * (np.log2(values + 1) / 2 + 1) / 2
    walked = values * float(np.log2(max(used, 2)))
    if not structure.forms:
        # Without a zero only the tree is left; with one that does not occur, its bits cost next to nothing.
        yield tree, walked, DENSE
        return
    tokens = _context_tokens(structure.nonzero, structure.row)
    bits, coded = _model_bits(count_symbols(tokens, 16))
    yield tree + bits, walked + coded, DENSE
    for zeros in structure.forms:
        if zeros.form == "blocks":
            written = structure.written[zeros.a]
            inside = tokens.reshape(-1, zeros.a)[written.view(bool)].reshape(-1)
            blocks = _block_tokens(written, structure.row // zeros.a)
            bits, coded = _model_bits(count_symbols(inside, 16))
            block_bits, block_count = _model_bits(count_symbols(blocks, 8))
            yield tree + bits + block_bits + FIELDS, walked + coded + block_count, zeros
        elif zeros.form == "n_of_m":
            bits, coded = _model_bits(_group_tokens(structure.nonzero, zeros))
            yield tree + bits + FIELDS, walked + coded, zeros


def _shifted(flags: np.ndarray, back: int) -> np.ndarray:
    """`flags[i - back]`, 1 before the first."""
    return np.concatenate([np.ones(min(back, flags.size), np.uint8), flags[: max(flags.size - back, 0)]])


def _context_tokens(nonzero: np.ndarray, row: int) -> np.ndarray:
    tokens = _shifted(nonzero, row)
    for back in (2, 1):
        tokens *= 2
        tokens += _shifted(nonzero, back)
    tokens *= 2
    tokens += nonzero
    return tokens


def _block_tokens(written: np.ndarray, row: int) -> np.ndarray:
    tokens = 4 * _shifted(written, row)
    tokens += 2 * _shifted(written, 1)
    tokens += written
    return tokens


def _group_tokens(nonzero: np.ndarray, zeros: Zeros) -> np.ndarray:
    """Counts of `2 * (nonzero symbols before in the group) + bit`, without the bits that are not coded."""
    counts = np.zeros(2 * zeros.a, np.int64)
    found = np.zeros(nonzero.size // zeros.b, np.uint8)
    for column in nonzero.reshape(-1, zeros.b).T:
        counts += count_symbols(2 * found + column, 2 * zeros.b)[: 2 * zeros.a]
        found += column
    return counts
