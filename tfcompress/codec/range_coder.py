"""Adaptive binary range coder of symbols (FORMAT.md, section 3).

A range coder (Martin, 1979) as in LZMA, over a model that first says whether a symbol is the zero
symbol, in the context of its neighbours, and then which of the others it is, along a binary tree.
"""

from __future__ import annotations

from itertools import chain, repeat

import numpy as np

from tfcompress.errors import PayloadError

__all__ = ["decode_symbols", "encode_symbols"]

RATES = [131072 // (2 * seen + 3) for seen in range(256)]
CHUNK = 1 << 16  # symbols whose bits are laid out at once; bounds the memory, not the format
NUM_CONTEXTS = 8


def _contexts(symbols: np.ndarray, zero_symbol: int, row: int) -> np.ndarray:
    """`nz(i-1) + 2 nz(i-2) + 4 nz(i-row)` for every i; before the first symbol nz is 1."""
    pad = max(row, 2)
    nonzero = np.ones(pad + symbols.size, np.uint8)
    nonzero[pad:] = symbols != zero_symbol
    shifted = [nonzero[pad - back : pad - back + symbols.size] for back in (1, 2, row)]
    return shifted[0] + 2 * shifted[1] + 4 * shifted[2]


def _tokens(symbols: np.ndarray, num_bits: int, zero_symbol: int | None, contexts: np.ndarray | None) -> list[int]:
    """The bits to code, in order, as `2 * model + bit`; models are 8 contexts, then the tree."""
    values = symbols.astype(np.int32)
    tokens = np.empty((values.size, num_bits + 1), np.int32)
    coded = np.ones(tokens.shape, bool)
    for depth in range(num_bits):
        node = (1 << depth) | (values >> (num_bits - depth))
        bit = (values >> (num_bits - 1 - depth)) & 1
        tokens[:, depth + 1] = 2 * (NUM_CONTEXTS + node) + bit
    if contexts is None or zero_symbol is None:
        coded[:, 0] = False
    else:
        tokens[:, 0] = 2 * contexts.astype(np.int32) + (values != zero_symbol)
        coded[:, 1:] = (values != zero_symbol)[:, None]
        sibling = ((1 << num_bits) + zero_symbol) >> 1
        coded[:, num_bits] &= ((1 << num_bits) + values) >> 1 != sibling
    flat: list[int] = tokens[coded].tolist()
    return flat


class _Encoder:
    """The state of one code section: interval, output and adaptive models."""

    def __init__(self, num_models: int) -> None:
        self.low, self.range = 0, 0xFFFFFFFF
        self.out = bytearray()
        self.probability = [32768] * num_models
        self.seen = [0] * num_models

    def code(self, tokens: list[int]) -> None:
        """Codes the bits of `tokens`."""
        low, range_, out = self.low, self.range, self.out
        probability, seen, rates = self.probability, self.seen, RATES
        for token in tokens:
            model = token >> 1
            p = probability[model]
            count = seen[model]
            bound = (range_ >> 12) * (p >> 4 or 1)
            if token & 1:
                probability[model] = p - (p * rates[count] >> 16)
                low += bound
                range_ -= bound
                if low > 0xFFFFFFFF:
                    low &= 0xFFFFFFFF
                    _carry(out)
            else:
                probability[model] = p + ((65536 - p) * rates[count] >> 16)
                range_ = bound
            if count < 255:
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


def encode_symbols(symbols: np.ndarray, num_bits: int, zero_symbol: int | None, row: int) -> bytes:
    """Codes symbols as the shortest byte string that decodes to them.

    Args:
        symbols: uint8, shape [n], each smaller than 2^num_bits.
        num_bits: 1 to 8.
        zero_symbol: The symbol of a zero weight, or None.
        row: Number of symbols per index of the first axis, ≥ 1.
    """
    contexts = None if zero_symbol is None else _contexts(symbols, zero_symbol, row)
    encoder = _Encoder(NUM_CONTEXTS + (1 << num_bits))
    for start in range(0, symbols.size, CHUNK):
        part = slice(start, start + CHUNK)
        encoder.code(_tokens(symbols[part], num_bits, zero_symbol, None if contexts is None else contexts[part]))
    return encoder.finish()


class _Decoder:
    """Mirror of `_Encoder`: yields bits instead of taking them."""

    def __init__(self, data: bytes, num_models: int) -> None:
        self.next_byte = chain(data, repeat(0)).__next__
        self.range = 0xFFFFFFFF
        self.code = 0
        for _ in range(4):
            self.code = self.code << 8 | self.next_byte()
        self.probability = [32768] * num_models
        self.seen = [0] * num_models

    def bit(self, model: int) -> int:
        """Decodes one bit with `model`."""
        p = self.probability[model]
        count = self.seen[model]
        bound = (self.range >> 12) * (p >> 4 or 1)
        if self.code >= bound:
            self.probability[model] = p - (p * RATES[count] >> 16)
            self.code -= bound
            range_ = self.range - bound
            bit = 1
        else:
            self.probability[model] = p + ((65536 - p) * RATES[count] >> 16)
            range_ = bound
            bit = 0
        if count < 255:
            self.seen[model] = count + 1
        while range_ < 0x1000000:
            range_ <<= 8
            self.code = self.code << 8 | self.next_byte()
        self.range = range_
        return bit


def decode_symbols(data: bytes, count: int, num_bits: int, zero_symbol: int | None, row: int) -> np.ndarray:
    """Decodes what `encode_symbols` coded.

    Returns:
        uint8, shape [count].

    Raises:
        PayloadError: The section ends in a zero byte, which an encoder never writes.
    """
    if data.endswith(b"\0"):
        raise PayloadError("an entropy-coded section must not end in a zero byte", f"codes_size={len(data)}")
    bit = _Decoder(data, NUM_CONTEXTS + (1 << num_bits)).bit
    symbols = bytearray(count)
    leaf = 1 << num_bits
    pad = max(row, 2)
    nonzero = bytearray(b"\1") * (pad + count)
    sibling = -1 if zero_symbol is None else (leaf + zero_symbol) >> 1
    for i in range(count):
        if zero_symbol is not None:
            at = pad + i
            if not bit(nonzero[at - 1] + 2 * nonzero[at - 2] + 4 * nonzero[at - row]):
                nonzero[at] = 0
                symbols[i] = zero_symbol
                continue
        node = 1
        while node < leaf:
            if node == sibling:
                node = 2 * node + 1 - (zero_symbol or 0) % 2
            else:
                node = 2 * node + bit(NUM_CONTEXTS + node)
        symbols[i] = node - leaf
    return np.frombuffer(symbols, np.uint8)
