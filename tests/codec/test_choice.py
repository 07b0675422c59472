import itertools

import numpy as np
import pytest
from forging import take_apart
from payload_samples import plans, sample

from tfcompress.codec import Codes, Floats, encode, read
from tfcompress.codec.choice import ADAPTIVE_LIMIT, Plan, candidates
from tfcompress.codec.container import encode_as
from tfcompress.codec.layout import BIT_CODERS, CODERS
from tfcompress.codec.zeros import Zeros


def entropy_bytes(symbols):
    """Order-0 entropy of all symbols together."""
    counts = np.unique(symbols, return_counts=True)[1]
    return float((counts * np.log2(symbols.size / counts)).sum()) / 8


def normal_codes(num_bits, shape, sparsity=0.0, seed=0):
    rng = np.random.default_rng(seed)
    half = 2 ** (num_bits - 1)
    codes = np.clip(np.rint(rng.normal(0, half / 2.5, shape)), -half, half - 1)
    codes[rng.random(shape) < sparsity] = 0
    return (codes + half).astype(np.uint8)


def structured(kind, num_bits, shape):
    symbols = normal_codes(num_bits, shape, 0.2 if kind == "scattered" else 0.0)
    zero, rng = 2 ** (num_bits - 1), np.random.default_rng(1)
    if kind == "scattered":
        symbols[rng.random(shape) < 0.7] = zero
    elif kind == "blocks":
        symbols.reshape(-1, 16)[rng.random(symbols.size // 16) < 0.7] = zero
    elif kind == "rows":
        symbols[rng.random(shape[0]) < 0.5] = zero
    elif kind == "columns":
        symbols[..., rng.random(shape[-1]) < 0.5] = zero
    elif kind == "groups":
        order = rng.permuted(np.tile(np.arange(4), (symbols.size // 4, 1)), axis=1)
        symbols.reshape(-1, 4)[order >= 2] = zero
    elif kind == "rare":
        symbols[rng.random(shape) < 0.98] = zero
    return Codes(symbols, num_bits, np.ones(1, np.float32))


KINDS = ("dense", "scattered", "blocks", "rows", "columns", "groups", "rare")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_bits", [2, 4, 8])
def test_the_payload_is_as_small_as_the_best_of_all_plans(kind, num_bits):
    for shape in ((64, 64), (16, 3, 3, 16), (20, 16)):
        weight = structured(kind, num_bits, shape)
        all_plans = plans(weight) + [Plan(coder, Zeros("blocks", 16)) for coder in CODERS]
        sizes = {plan: len(encode_as(weight, plan)) for plan in all_plans}
        assert len(encode(weight, smallest=True)) <= min(sizes.values())
        assert len(encode(weight)) <= min(size for plan, size in sizes.items() if plan.coder != "rans")
        plain = min(size for plan, size in sizes.items() if plan.coder == "plain")
        assert len(encode(weight, entropy_coded=False)) <= plain


def test_each_form_wins_where_the_zeros_have_its_structure():
    shape = (64, 256)
    chosen = {kind: read(encode(structured(kind, 4, shape))) for kind in KINDS}
    assert chosen["blocks"].zeros == "blocks"
    assert chosen["groups"].zeros == "n_of_m"
    assert {payload.coder for payload in chosen.values()} <= set(BIT_CODERS)
    plain = {kind: read(encode(structured(kind, 4, shape), entropy_coded=False)).zeros for kind in KINDS}
    assert plain["scattered"] in ("bitmap", "run_length")
    half = Codes(normal_codes(4, shape, 0.3), 4, None)
    assert read(encode(half, entropy_coded=False)).zeros == "bitmap"
    assert plain["rare"] == "run_length"
    assert plain["blocks"] == "blocks"
    assert plain["dense"] == "dense"


def test_large_weights_take_rans_unless_the_smallest_is_asked_for():
    rows = ADAPTIVE_LIMIT // 256
    for shape, coders in (((rows, 256), {"adaptive", "steady"}), ((rows + 1, 256), {"rans"})):
        symbols = normal_codes(4, shape).reshape(-1)
        found = candidates(symbols, 4, 16, 8, shape, smallest=False)
        assert {plan.coder for plan in found} == coders
        both = candidates(symbols, 4, 16, 8, shape, smallest=True)
        assert {plan.coder for plan in both} == {"adaptive", "steady", "rans"}


def test_a_weight_whose_parts_differ_takes_the_coder_that_forgets():
    rng = np.random.default_rng(0)
    lowest = np.repeat(rng.choice([0, 12], 64), 2048)
    symbols = (lowest + rng.integers(0, 4, lowest.size)).astype(np.uint8).reshape(64, 2048)
    assert read(encode(Codes(symbols, 4, np.ones(1, np.float32)))).coder == "adaptive"


def test_what_cannot_win_is_not_coded():
    shape = (1024, 300)
    for kind, num_bits in itertools.product(KINDS, (2, 4, 8)):
        weight = structured(kind, num_bits, shape if kind != "blocks" else (1024, 320))
        found = candidates(
            weight.symbols.reshape(-1), num_bits, 2**num_bits, weight.zero_symbol, weight.shape, smallest=False
        )
        assert 1 <= len(found) <= 5
        assert len(found) == 1 or kind in ("rare", "columns", "rows", "blocks")


def test_many_zeros_among_rare_symbols_go_back_to_a_coder_of_bits():
    symbols = np.full((600, 1000), 8, np.uint8)
    at = np.random.default_rng(0).random(symbols.shape) < 0.001
    symbols[at] = np.random.default_rng(1).integers(0, 16, np.count_nonzero(at))
    payload = read(encode(Codes(symbols, 4, np.ones(1, np.float32))))
    assert payload.coder == "steady"
    assert payload.codes_size <= 1.01 * entropy_bytes(symbols) + 32


SIZES = [(16, 1024), (300, 300), (513, 512), (900, 500)]


def bytes_at_rest(payload):
    """Codes and side section; the round trip is tested elsewhere, and takes time here."""
    fields = take_apart(payload)
    return fields["codes_size"] + fields["side_size"]


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("num_bits", [2, 3, 4, 8])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.97, 0.99, 0.999])
def test_codes_take_their_entropy_and_little_more(shape, num_bits, sparsity):
    symbols = normal_codes(num_bits, shape, sparsity)
    payload = encode(Codes(symbols, num_bits, np.ones(1, np.float32)))
    assert bytes_at_rest(payload) <= 1.01 * entropy_bytes(symbols) + (64 if num_bits <= 4 else 400)


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_palettes_and_floats_take_their_entropy_and_little_more(shape):
    rng = np.random.default_rng(0)
    codebook = np.sort(rng.normal(size=16)).astype(np.float32)
    symbols = rng.binomial(15, 0.4, shape).astype(np.uint8)
    payload = encode(Codes(symbols, 4, None, None, codebook))
    assert bytes_at_rest(payload) <= 1.01 * entropy_bytes(symbols) + 64
    floats = Floats(rng.normal(0, 0.05, shape).astype(np.float32))
    payload = encode(floats)
    assert bytes_at_rest(payload) <= 1.01 * entropy_bytes(floats.exponents()) + 400
    assert len(payload) <= 0.88 * 4 * symbols.size


def test_all_zeros_take_a_few_bytes():
    for zero, weight in (
        (8, sample("uniform", 4, (300, 1000), sparsity=1.0, scale="tensor")),
        (0, Floats(np.zeros((700, 900), np.float32))),
    ):
        payload = encode(weight)
        assert len(payload) < 200, zero
        assert not read(payload).weight.weight().any()
