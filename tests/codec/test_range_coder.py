import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcompress.codec.coders import range_coder
from tfcompress.codec.coders.range_coder import decode_symbols, encode_symbols
from tfcompress.errors import PayloadError


def literal_encode(symbols, num_bits, zero_symbol, row, zeros="dense", a=0, b=0, *, steady=False):
    """FORMAT.md section 5 word for word, with `low` as one unbounded integer."""
    low, range_, shifts = 0, 2**32 - 1, 0
    models = {}

    def code(name, bit):
        nonlocal low, range_, shifts
        p, k = models.get(name, (2**27 if steady else 32768, 0))
        if steady:
            bound, rate = (range_ * max(p >> 12, 1)) >> 16, 2**25 // (2 * k + 3)
            p += -((p * rate) >> 24) if bit else ((2**28 - p) * rate) >> 24
        else:
            bound, rate = (range_ >> 12) * min(max(p >> 4, 1), 4095), 131072 // (2 * k + 3)
            p += -((p * rate) >> 16) if bit else ((65536 - p) * rate) >> 16
        low, range_ = (low + bound, range_ - bound) if bit else (low, bound)
        models[name] = (p, min(k + 1, 16383 if steady else 255))
        while range_ < 2**24:
            range_, low, shifts = range_ << 8, low << 8, shifts + 1

    def nz(j):
        return 1 if j < 0 else int(symbols[j] != zero_symbol)

    def w(j):
        return 1 if j < 0 else int(any(symbols[j : j + a] != zero_symbol))

    def code_zero(i, s):
        if zeros != "n_of_m":
            code(("zero", nz(i - 1) + 2 * nz(i - 2) + 4 * nz(i - row)), int(s != zero_symbol))
            return
        found = sum(nz(j) for j in range(i - i % b, i))
        if found < a:
            code(("zero", found), int(s != zero_symbol))

    for i, s in enumerate(int(s) for s in symbols):
        if zeros == "blocks":
            if i % a == 0:
                code(("block", w(i - a) + 2 * w(i - row)), w(i))
            if not w(i - i % a):
                continue
        if zero_symbol is not None:
            code_zero(i, s)
            if s == zero_symbol:
                continue
        node = 1
        for depth in reversed(range(num_bits)):
            bit = (s >> depth) & 1
            if zero_symbol is None or node != (2**num_bits + zero_symbol) >> 1:
                code(("tree", node), bit)
            node = 2 * node + bit
    top = -(-low // 2**24)
    return top.to_bytes(shifts + 1, "big").rstrip(b"\0")


@st.composite
def sections(draw):
    num_bits = draw(st.integers(1, 8))
    zero_symbol = draw(st.none() | st.integers(0, 2**num_bits - 1))
    rare = st.integers(0, 2**num_bits - 1)
    likely = rare if zero_symbol is None else st.just(zero_symbol) | st.just(zero_symbol) | rare
    symbols = draw(st.lists(likely, min_size=1, max_size=300))
    return np.array(symbols, np.uint8), num_bits, zero_symbol, draw(st.integers(1, len(symbols)))


@given(sections(), st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_equals_the_format_word_for_word_and_comes_back(section, steady):
    symbols, num_bits, zero_symbol, row = section
    data = encode_symbols(symbols, num_bits, zero_symbol, row, steady=steady)
    assert data == literal_encode(symbols, num_bits, zero_symbol, row, steady=steady)
    decoded = decode_symbols(data, symbols.size, num_bits, zero_symbol, row, steady=steady)
    np.testing.assert_array_equal(decoded, symbols)


@st.composite
def structured(draw):
    num_bits, unit = draw(st.integers(1, 8)), draw(st.sampled_from([2, 3, 4, 8, 16, 32]))
    zero_symbol = draw(st.integers(0, 2**num_bits - 1))
    row = unit * draw(st.integers(1, 4))
    count = row * draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    symbols = rng.integers(0, 2**num_bits, count).astype(np.uint8)
    symbols[rng.random(count) < draw(st.sampled_from([0, 0.5, 0.9]))] = zero_symbol
    kept = draw(st.integers(1, unit - 1))
    if unit in (4, 8, 16, 32) and draw(st.booleans()):
        order = rng.permuted(np.tile(np.arange(unit), (count // unit, 1)), axis=1)
        symbols.reshape(-1, unit)[order >= kept] = zero_symbol
        return symbols, num_bits, zero_symbol, row, "n_of_m", kept, unit
    symbols.reshape(-1, unit)[rng.random(count // unit) < draw(st.sampled_from([0, 0.5, 0.9, 1]))] = zero_symbol
    return symbols, num_bits, zero_symbol, row, "blocks", unit, 0


@given(structured())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_blocks_and_groups_equal_the_format_word_for_word_and_come_back(case):
    symbols, *fields = case
    data = encode_symbols(symbols, *fields)
    assert data == literal_encode(symbols, *fields)
    np.testing.assert_array_equal(decode_symbols(data, symbols.size, *fields), symbols)


@pytest.mark.parametrize(("zeros", "a", "b"), [("blocks", 48, 0), ("n_of_m", 3, 32)])
def test_structured_sections_longer_than_one_chunk_come_back(zeros, a, b):
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, 4, (800, 96)).astype(np.uint8)
    if zeros == "blocks":
        symbols.reshape(-1, a)[rng.random(1600) < 0.7] = 2
    else:
        symbols.reshape(-1, b)[:, 3:] = 2
    data = encode_symbols(symbols.reshape(-1), 2, 2, 96, zeros, a, b)
    back = decode_symbols(data, symbols.size, 2, 2, 96, zeros, a, b)
    np.testing.assert_array_equal(back, symbols.reshape(-1))


def test_a_written_block_of_zeros_is_refused():
    # The first bit says that the block is written, the next two that its symbols are zero.
    data = bytes([0x80, 0x00, 0x01])
    assert decode_symbols(data, 2, 2, 2, 2).tolist() != [2, 2]
    with pytest.raises(PayloadError, match="written must have a nonzero"):
        decode_symbols(data, 2, 2, 2, 2, "blocks", 2)


def test_a_section_that_ends_before_its_symbols_is_refused():
    symbols = np.random.default_rng(0).integers(0, 16, 200).astype(np.uint8)
    data = encode_symbols(symbols, 4, None, 10)
    with pytest.raises(PayloadError, match="bytes for its symbols"):
        decode_symbols(data, 2000, 4, None, 10)


def test_carries_and_long_runs_come_back():
    rng = np.random.default_rng(3)
    for trial in range(40):
        symbols = np.where(rng.random(4000) < 0.002 * trial, rng.integers(0, 4, 4000), 3).astype(np.uint8)
        data = encode_symbols(symbols, 2, None, 50)
        np.testing.assert_array_equal(decode_symbols(data, 4000, 2, None, 50), symbols)


def test_sections_longer_than_one_chunk_come_back():
    symbols = np.random.default_rng(0).choice(4, 70_000, p=[0.05, 0.05, 0.85, 0.05]).astype(np.uint8)
    data = encode_symbols(symbols, 2, 2, 700)
    np.testing.assert_array_equal(decode_symbols(data, symbols.size, 2, 2, 700), symbols)


@pytest.mark.parametrize(("num_bits", "sparsity"), [(2, 0.0), (2, 0.5), (4, 0.0), (4, 0.7), (4, 0.95), (8, 0.5)])
def test_size_is_within_2_percent_of_an_ideal_static_coder(num_bits, sparsity):
    rng = np.random.default_rng(num_bits)
    zero = 2 ** (num_bits - 1)
    codes = np.clip(np.round(rng.normal(0, zero / 3, 40_000)), 1 - zero, zero - 1)
    codes[rng.random(codes.size) < sparsity] = 0
    symbols = (codes + zero).astype(np.uint8)
    frequencies = np.bincount(symbols, minlength=2**num_bits) / symbols.size
    oracle = constriction.stream.queue.RangeEncoder()
    model = constriction.stream.model.Categorical(frequencies.astype(np.float32), perfect=False)
    oracle.encode(symbols.astype(np.int32), model)
    ideal = 4 * oracle.num_words()
    # Learning 2^num_bits frequencies costs about half a log2(n) bits each.
    learning = 2**num_bits * np.log2(symbols.size) / 2 / 8
    assert len(encode_symbols(symbols, num_bits, zero, 200)) <= 1.02 * ideal + learning + 8


def test_clustered_zeros_cost_less_than_scattered_ones():
    rng = np.random.default_rng(1)
    symbols = rng.choice([1, 3], (100, 100)).astype(np.uint8)
    rows = symbols.copy()
    rows[:, rng.random(100) < 0.5] = 2
    scattered = symbols.copy()
    scattered[rng.random(scattered.shape) < 0.5] = 2
    sizes = [len(encode_symbols(each.reshape(-1), 2, 2, 100)) for each in (rows, scattered)]
    assert sizes[0] < 0.8 * sizes[1]


def test_all_zeros_take_no_bytes():
    symbols = np.full(100_000, 8, np.uint8)
    assert encode_symbols(symbols, 4, 8, 10) == b""
    np.testing.assert_array_equal(decode_symbols(b"", symbols.size, 4, 8, 10), symbols)


def test_a_trailing_zero_byte_is_refused():
    with pytest.raises(PayloadError, match="zero byte"):
        decode_symbols(b"\x01\x00", 5, 4, 8, 1)


def test_a_number_that_is_not_smaller_than_the_first_range_is_refused():
    # No encoder writes it; a decoder of 32 bits would wrap around where one of Python's integers does not.
    with pytest.raises(PayloadError, match="four bytes of 255"):
        decode_symbols(b"\xff\xff\xff\xff\x01", 5, 4, 8, 1)


@pytest.mark.parametrize(
    ("zero_symbol", "zeros", "a", "b"), [(2, "dense", 0, 0), (2, "blocks", 4, 0), (None, "dense", 0, 0)]
)
def test_once_only_zeros_are_left_no_bit_is_decoded(monkeypatch, zero_symbol, zeros, a, b):
    symbols = np.full(400_000, zero_symbol or 0, np.uint8)
    symbols[[0, 5, 90]] = [1, 3, 1]
    fields = (2, zero_symbol, 8, zeros, a, b)
    data = encode_symbols(symbols, *fields)
    decoded = []
    bit = range_coder._Decoder.bit
    monkeypatch.setattr(range_coder._Decoder, "bit", lambda self, model: decoded.append(model) or bit(self, model))
    np.testing.assert_array_equal(decode_symbols(data, symbols.size, *fields), symbols)
    assert 0 < len(decoded) < 100_000
