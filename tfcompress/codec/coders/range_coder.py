"""Adaptive and steady binary range coder of symbols (FORMAT.md, sections 5.1 and 5.2).

A range coder (Martin, 1979) as in LZMA, over a model that first says whether a symbol is the zero
symbol, in the context of its neighbours or of its group of n:m zeros, and then which of the others it
is, along a binary tree. Blocks of zeros take one bit each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tfcompress.errors import PayloadError

__all__ = ["decode_symbols", "encode_symbols"]

CHUNK = 1 << 16  # symbols whose bits are laid out at once; bounds the memory, not the format
PAST_END = 16  # zero bytes read past the end while code is not 0; more take a chance of 2^-128
ZERO, BLOCK, TREE = 0, 32, 36  # the first model of each kind


class _Memory:
    """How a model of one bit follows what it has seen.

    Args:
        one: Bits of the unit in which probabilities are kept.
        rate: Bits of the unit of the rates.
        used: Bits of a probability that the coder uses.
        range_dropped: Bits of the range that it does not use.
        seen: How many bits of its kind a model remembers.
    """

    def __init__(self, one: int, rate: int, used: int, range_dropped: int, seen: int) -> None:
        self.one, self.rate_shift, self.last = 1 << one, rate, seen - 1
        self.rates = [(2 << rate) // (2 * k + 3) for k in range(seen)]
        self.shift, self.range_dropped, self.bound_shift = one - used, range_dropped, used - range_dropped


_ADAPTIVE = _Memory(one=16, rate=16, used=12, range_dropped=12, seen=256)
_STEADY = _Memory(one=28, rate=24, used=16, range_dropped=0, seen=16384)


@dataclass(frozen=True)
class _Model:
    """What encoder and decoder agree on; the fields are the arguments of `encode_symbols`."""

    num_bits: int
    zero_symbol: int | None
    row: int
    zeros: str
    a: int
    b: int

    @property
    def size(self) -> int:
        """Number of one-bit models."""
        return TREE + (1 << self.num_bits)

    @property
    def unit(self) -> int:
        """Number of symbols that are coded together."""
        return {"blocks": self.a, "n_of_m": self.b}.get(self.zeros, 1)

    @property
    def sibling(self) -> int:
        """The last node on the way to the zero symbol: its bit is known. -1 without one."""
        return -1 if self.zero_symbol is None else ((1 << self.num_bits) + self.zero_symbol) >> 1


def _back(flags: np.ndarray, part: slice, back: int) -> np.ndarray:
    """`flags[i - back]` for every i of `part`; 1 before the first."""
    before = np.ones(min(max(back - part.start, 0), part.stop - part.start), np.uint8)
    return np.concatenate([before, flags[max(part.start - back, 0) : max(part.stop - back, 0)]])


def _zero_bits(model: _Model, nonzero: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray]:
    """The model of each symbol's zero bit in `part`, and whether that bit is coded at all."""
    if model.zeros == "n_of_m":
        groups = nonzero[part].reshape(-1, model.b)
        before = (np.cumsum(groups, axis=1, dtype=np.uint8) - groups).reshape(-1)
        return ZERO + before, before < model.a
    models = ZERO + _back(nonzero, part, 1) + 2 * _back(nonzero, part, 2) + 4 * _back(nonzero, part, model.row)
    if model.zeros == "dense":
        return models, np.ones(models.size, bool)
    return models, np.repeat(nonzero[part].reshape(-1, model.a).any(axis=1), model.a)


def _block_bits(model: _Model, nonzero: np.ndarray) -> np.ndarray:
    """The token of each block."""
    written = np.asarray(nonzero.reshape(-1, model.a).any(axis=1), np.uint8)
    everything = slice(0, written.size)
    models = BLOCK + _back(written, everything, 1) + 2 * _back(written, everything, model.row // model.a)
    tokens: np.ndarray = 2 * models.astype(np.int32) + written
    return tokens


def _tokens(model: _Model, symbols: np.ndarray) -> Iterator[list[int]]:
    """The bits to code, in order, as `2 * model + bit`."""
    chunk = max(CHUNK // model.unit, 1) * model.unit
    if model.zero_symbol is not None:
        nonzero = (symbols != model.zero_symbol).astype(np.uint8)
        block_tokens = _block_bits(model, nonzero) if model.zeros == "blocks" else None
    for start in range(0, symbols.size, chunk):
        part = slice(start, min(start + chunk, symbols.size))
        tokens, coded = _tree_bits(model, symbols[part].astype(np.int32))
        if model.zero_symbol is not None:
            models, coded[:, 1] = _zero_bits(model, nonzero, part)
            tokens[:, 1] = 2 * models.astype(np.int32) + nonzero[part]
            if block_tokens is not None:
                tokens[:: model.a, 0] = block_tokens[start // model.a : part.stop // model.a]
                coded[:: model.a, 0] = True
        flat: list[int] = tokens[coded].tolist()
        yield flat


def _tree_bits(model: _Model, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, and which of them are coded: [n, block bit, zero bit, bits of the tree]; the first two are free."""
    num_bits = model.num_bits
    tokens = np.zeros((values.size, num_bits + 2), np.int32)
    coded = np.ones(tokens.shape, bool)
    coded[:, :2] = False
    for depth in range(num_bits):
        node = (1 << depth) | (values >> (num_bits - depth))
        bit = (values >> (num_bits - 1 - depth)) & 1
        tokens[:, depth + 2] = 2 * (TREE + node) + bit
    if model.zero_symbol is not None:
        coded[:, 2:] = (values != model.zero_symbol)[:, None]
        coded[:, -1] &= ((1 << num_bits) + values) >> 1 != model.sibling
    return tokens, coded


class _Encoder:
    """The state of one code section: interval, output and adaptive models."""

    def __init__(self, num_models: int, memory: _Memory) -> None:
        self.low, self.range = 0, 0xFFFFFFFF
        self.out = bytearray()
        self.memory = memory
        self.probability = [memory.one // 2] * num_models
        self.seen = [0] * num_models

    def code(self, tokens: list[int]) -> None:
        """Codes the bits of `tokens`."""
        low, range_, out = self.low, self.range, self.out
        probability, seen, memory = self.probability, self.seen, self.memory
        one, rates, rate_shift, last = memory.one, memory.rates, memory.rate_shift, memory.last
        shift, dropped, bound_shift = memory.shift, memory.range_dropped, memory.bound_shift
        for token in tokens:
            model = token >> 1
            p = probability[model]
            count = seen[model]
            bound = (range_ >> dropped) * (p >> shift or 1) >> bound_shift
            if token & 1:
                probability[model] = p - (p * rates[count] >> rate_shift)
                low += bound
                range_ -= bound
                if low > 0xFFFFFFFF:
                    low &= 0xFFFFFFFF
                    _carry(out)
            else:
                probability[model] = p + ((one - p) * rates[count] >> rate_shift)
                range_ = bound
            if count < last:
                seen[model] = count + 1
            while range_ < 0x1000000:
                out.append(low >> 24)
                low = (low << 8) & 0xFFFFFFFF
                range_ <<= 8
        self.low, self.range = low, range_

    def finish(self) -> bytes:
        """Ends the section with the shortest number inside the interval."""
        last = -(-self.low >> 24)
        if last == 256:
            last = 0
            _carry(self.out)
        self.out.append(last)
        return bytes(self.out).rstrip(b"\0")


def _carry(out: bytearray) -> None:
    """Adds 1 to the big-endian number in `out`; the interval lies below 1, so it never overflows."""
    index = len(out) - 1
    while out[index] == 255:
        out[index] = 0
        index -= 1
    out[index] += 1


def encode_symbols(
    symbols: np.ndarray,
    num_bits: int,
    zero_symbol: int | None,
    row: int,
    zeros: str = "dense",
    a: int = 0,
    b: int = 0,
    *,
    steady: bool = False,
) -> bytes:
    """Codes symbols as the shortest byte string that decodes to them.

    Args:
        symbols: uint8, shape [n], each smaller than 2^num_bits.
        num_bits: 1 to 8.
        zero_symbol: The symbol of a zero weight, or None.
        row: Number of symbols per index of the first axis, ≥ 1.
        zeros: "dense", "blocks" of `a` symbols, or "n_of_m": at most `a` of `b` symbols are not zero.
        a: See `zeros`; divides `row` for blocks.
        b: See `zeros`; divides `row`.
        steady: Remember the last 16,384 bits of a kind instead of 256.
    """
    model = _Model(num_bits, zero_symbol, row, zeros, a, b)
    encoder = _Encoder(model.size, _STEADY if steady else _ADAPTIVE)
    for tokens in _tokens(model, symbols):
        encoder.code(tokens)
    return encoder.finish()


class _Decoder:
    """Mirror of `_Encoder`: yields bits instead of taking them."""

    def __init__(self, data: bytes, num_models: int, memory: _Memory) -> None:
        self.data = data + bytes(4)
        self.at = 4
        self.range = 0xFFFFFFFF
        self.code = int.from_bytes(self.data[:4], "big")
        self.memory = memory
        self.probability = [memory.one // 2] * num_models
        self.seen = [0] * num_models

    def bit(self, model: int) -> int:
        """Decodes one bit with `model`."""
        p, count, range_, memory = self.probability[model], self.seen[model], self.range, self.memory
        bound = (range_ >> memory.range_dropped) * (p >> memory.shift or 1) >> memory.bound_shift
        if self.code >= bound:
            self.probability[model] = p - (p * memory.rates[count] >> memory.rate_shift)
            self.code -= bound
            range_ -= bound
            bit = 1
        else:
            self.probability[model] = p + ((memory.one - p) * memory.rates[count] >> memory.rate_shift)
            range_ = bound
            bit = 0
        if count < memory.last:
            self.seen[model] = count + 1
        while range_ < 0x1000000:
            range_ <<= 8
            self.code = self.code << 8 | self._next_byte()
        self.range = range_
        return bit

    def _next_byte(self) -> int:
        """The next byte of the section, then zeros."""
        self.at += 1
        if self.at <= len(self.data):
            return self.data[self.at - 1]
        if self.code and self.at > len(self.data) + PAST_END:
            raise PayloadError("a section of bits must have bytes for its symbols", f"codes_size={len(self.data) - 4}")
        return 0

    def ended(self) -> bool:
        """Whether every further bit is 0."""
        return not self.code and self.at >= len(self.data)


def decode_symbols(
    data: bytes,
    count: int,
    num_bits: int,
    zero_symbol: int | None,
    row: int,
    zeros: str = "dense",
    a: int = 0,
    b: int = 0,
    *,
    steady: bool = False,
) -> np.ndarray:
    """Decodes what `encode_symbols` coded.

    Returns:
        uint8, shape [count].

    Raises:
        PayloadError: The section ends in a zero byte or starts with four of 255, which an encoder never
            writes, or ends before its symbols do, or a block that is said to have a nonzero symbol has none.
    """
    if data.endswith(b"\0"):
        raise PayloadError("an entropy-coded section must not end in a zero byte", f"codes_size={len(data)}")
    if data.startswith(b"\xff\xff\xff\xff"):
        raise PayloadError("an entropy-coded section must not start with four bytes of 255", f"codes_size={len(data)}")
    model = _Model(num_bits, zero_symbol, row, zeros, a, b)
    decoder = _Decoder(data, model.size, _STEADY if steady else _ADAPTIVE)
    symbols = bytearray()
    if zero_symbol is None:
        symbol = _tree_walk(model, decoder.bit)
        while len(symbols) < count and not decoder.ended():
            symbols.append(symbol())
    else:
        _decode_sparse(model, decoder, symbols, count)
    # Once every further bit is 0, the rest is zeros; or the first symbol, where none is zero.
    rest = np.full(count - len(symbols), zero_symbol or 0, np.uint8)
    return np.concatenate([np.frombuffer(symbols, np.uint8), rest])


def _tree_walk(model: _Model, bit: Callable[[int], int]) -> Callable[[], int]:
    """A function that decodes one symbol along the tree."""
    leaf, sibling, last = 1 << model.num_bits, model.sibling, 1 - (model.zero_symbol or 0) % 2

    def symbol() -> int:
        node = 1
        while node < leaf:
            node = 2 * node + (last if node == sibling else bit(TREE + node))
        return node - leaf

    return symbol


def _decode_sparse(model: _Model, decoder: _Decoder, symbols: bytearray, count: int) -> None:
    """Appends symbols until `count`, or until only zeros are left."""
    bit, row, zero, unit = decoder.bit, model.row, model.zero_symbol or 0, model.unit
    symbol = _tree_walk(model, bit)
    blocked, grouped = model.zeros == "blocks", model.zeros == "n_of_m"
    nonzero, written = bytearray(b"\1\1"), bytearray()  # nonzero starts two symbols before the first
    while len(symbols) < count and not decoder.ended():
        if blocked:
            above = written[-(row // model.a)] if len(symbols) >= row else 1
            written.append(bit(BLOCK + (written[-1] if written else 1) + 2 * above))
            if not written[-1]:
                nonzero += bytes(model.a)
                symbols += bytes([zero]) * model.a
                continue
        found = 0
        for _ in range(unit):
            if grouped:
                flag = bit(ZERO + found) if found < model.a else 0
            else:
                above = nonzero[-row] if len(symbols) >= row else 1
                flag = bit(ZERO + nonzero[-1] + 2 * nonzero[-2] + 4 * above)
            nonzero.append(flag)
            symbols.append(symbol() if flag else zero)
            found += flag
        if blocked and not found:
            raise PayloadError("a block that is written must have a nonzero symbol", f"{len(symbols)} symbols read")
