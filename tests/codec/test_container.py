import math
import random
import tracemalloc

import numpy as np
import pytest
from forging import forge, put_together, take_apart, uvarint, with_checksum
from payload_samples import ENCODINGS, assert_same, plans, sample

from tfcompress.codec import Codes, Floats, decode, encode, read
from tfcompress.codec.choice import Plan
from tfcompress.codec.container import encode_as
from tfcompress.codec.zeros import DENSE, Zeros
from tfcompress.errors import PayloadError

FORMS = {
    "plain": Plan("plain", DENSE),
    "adaptive": Plan("adaptive", DENSE),
    "rans": Plan("rans", DENSE),
    "bitmap": Plan("plain", Zeros("bitmap")),
    "runs": Plan("plain", Zeros("run_length", 2)),
    "blocks": Plan("plain", Zeros("blocks", 4)),
    "groups": Plan("plain", Zeros("n_of_m", 2, 4)),
    "rans runs": Plan("rans", Zeros("run_length", 2)),
    "adaptive blocks": Plan("adaptive", Zeros("blocks", 4)),
    "adaptive groups": Plan("adaptive", Zeros("n_of_m", 2, 4)),
}
BIAS = np.arange(6, dtype=np.float32)


def written(plan="plain", encoding="uniform", num_bits=4, bias=BIAS, **options):
    return encode_as(sample(encoding, num_bits, **options), FORMS[plan], bias=bias)


@pytest.mark.parametrize("plan", FORMS)
def test_taking_apart_and_putting_together_changes_nothing(plan):
    payload = written(plan)
    assert put_together(take_apart(payload)) == forge(payload) == payload


@pytest.mark.parametrize("plan", FORMS)
@pytest.mark.parametrize("encoding", [("palette", 3), ("float", 16)], ids=str)
def test_every_flipped_byte_and_every_truncation_is_refused(plan, encoding):
    payload = written(plan, *encoding)
    for at in range(len(payload)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(payload)
            damaged[at] ^= flip
            with pytest.raises(PayloadError):
                read(bytes(damaged))
        with pytest.raises(PayloadError):
            read(payload[:at])
    with pytest.raises(PayloadError, match="length"):
        read(payload + b"\0\0\0\0")


ANY = [
    ({"version": 0}, "version"),
    ({"version": 2}, "version must be 1.*Use the release"),
    ({"encoding": 0}, "encoding"),
    ({"encoding": 7}, "encoding"),
    ({"num_bits": 0}, "num_bits"),
    ({"num_bits": 9}, "num_bits"),
    ({"num_bits": 255}, "num_bits"),
    ({"length": 8}, "length"),
    ({"length": 2**62}, "length"),
    ({"more": bytes(4)}, "padding"),
    ({"more": b"\1\0\0\0"}, "padding"),
    ({"rank": 0}, "rank"),
    ({"rank": 9}, "rank"),
    ({"rank": b"\x82\x00"}, "shortest"),
    ({"rank": b"\x80" * 9 + b"\x01"}, "9 bytes"),
    ({"dims": [0, 16]}, "dimension"),
    ({"dims": [2**20, 2**20]}, "fewer than"),
    ({"dims": [2**39, 2**39]}, "fewer than"),
    ({"dims": [2**32, 2**32, 2**32, 6]}, "fewer than"),
    ({"dims": [2**40]}, "dimension"),
    ({"granularity": 4}, "granularity"),
    ({"granularity": 2**62}, "granularity"),
    ({"block": 1}, "block"),
    ({"block": 8}, "block"),
    ({"granularity": 2, "block": 16}, "block"),
    ({"granularity": 2, "block": 3}, "block"),
    ({"codebook_size": 1}, "codebook_size"),
    ({"bias_size": 5}, "bias_size"),
    ({"scales": b""}, "."),
    ({"codes_size": 2**60}, "codes_size"),
    ({"side_size": 2**60}, "side_size"),
]


@pytest.mark.parametrize(("changes", "rule"), ANY, ids=str)
@pytest.mark.parametrize("plan", FORMS)
def test_a_wrong_field_is_refused_by_name(plan, changes, rule):
    with pytest.raises(PayloadError, match=rule):
        read(forge(written(plan), **changes))


PLAIN = written()
CODES = take_apart(PLAIN)["codes"]
SCALES = take_apart(PLAIN)["scales"]


def float_bytes(*values):
    return np.array(values, np.float32).tobytes()


SPECIAL = [
    ("plain", {"form": 0x05}, "adaptive coding must go with"),
    ("plain", {"form": 0x07}, "steady coding must go with"),
    ("plain", {"form": 0x14}, "zeros"),
    ("plain", {"form": 0x80}, "form"),
    ("plain", {"form": 0x20}, "int8 payload"),
    ("plain", {"form": 0x40}, "int4 payload"),
    ("plain", {"form": 0x60}, "exact in float16"),
    ("plain", {"scales": float_bytes(0.0) + SCALES[4:]}, "not 0"),
    ("plain", {"scales": float_bytes(-0.0) + SCALES[4:]}, "not 0"),
    ("plain", {"scales": SCALES[4:] + float_bytes(np.nan)}, "finite"),
    ("plain", {"scales": float_bytes(3e38) * 16}, "finite"),
    ("plain", {"side": b"\0"}, "side_size"),
    ("plain", {"codes": CODES + b"\0"}, "codes_size"),
    ("plain", {"codes": CODES[:-1]}, "codes_size"),
    ("adaptive", {"form": 0x05, "side": bytes(12)}, "adaptive coding"),
    ("adaptive", {"side": b"\0"}, "side_size"),
    ("adaptive", {"codes": take_apart(written("adaptive"))["codes"] + b"\0"}, "zero byte"),
    ("adaptive", {"dims": [600, 16], "bias": b"", "bias_size": 0}, "bytes for its symbols"),
    ("bitmap", {"side": bytes(11)}, "side_size"),
    ("bitmap", {"side": bytes(12)}, "codes_size"),
    ("bitmap", {"codes": take_apart(written("bitmap"))["codes"][:-1] + b"\x88"}, "nonzero|codes_size|unused"),
    ("runs", {"zeros_a": 0}, "zeros_a"),
    ("runs", {"zeros_a": 9}, "zeros_a"),
    ("runs", {"zeros_b": 2**39}, "side_size"),
    ("blocks", {"zeros_a": 1}, "blocks"),
    ("blocks", {"zeros_a": 3}, "blocks"),
    ("blocks", {"zeros_a": 32}, "blocks"),
    ("blocks", {"zeros_b": 1}, "blocks"),
    ("blocks", {"side": b"\xff\xff\xff\xff"}, "side_size"),
    ("groups", {"zeros_a": 0}, "zeros_a"),
    ("groups", {"zeros_a": 4}, "n:m"),
    ("groups", {"zeros_b": 5}, "n:m"),
    ("groups", {"zeros_b": 0}, "n:m"),
    ("groups", {"zeros_b": 32}, "n:m"),
    ("groups", {"side": b"\0" * 12}, "ascend"),
    ("rans", {"codes": b""}, "frequency"),
    ("rans", {"codes": bytes(16)}, "sum"),
]


@pytest.mark.parametrize(("plan", "changes", "rule"), SPECIAL, ids=str)
def test_a_contradiction_in_one_form_is_refused_by_name(plan, changes, rule):
    with pytest.raises(PayloadError, match=rule):
        read(forge(written(plan, scale="channel"), **changes))


@pytest.mark.parametrize(
    ("sizes", "rule"),
    [
        ({"codebook": float_bytes(0, 0, 1, 2)}, "ascending"),
        ({"codebook": float_bytes(0, 1, 2, np.inf)}, "finite"),
        ({"codebook": float_bytes(-1, -0.0, 1, 2)}, "-0.0"),
        ({"codebook_size": 0}, "codebook_size"),
        ({"codebook_size": 5}, "codebook_size"),
        ({"codebook": float_bytes(0, 1, 2), "codebook_size": 3}, "smaller than 3"),
    ],
)
def test_a_wrong_palette_is_refused(sizes, rule):
    codes = Codes(np.array([0, 1, 2, 3], np.uint8), 2, None, None, np.arange(4, dtype=np.float32))
    with pytest.raises(PayloadError, match=rule):
        read(forge(encode(codes, entropy_coded=False), **sizes))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"num_bits": 8}, "num_bits"),
        ({"num_bits": 33}, "num_bits"),
        ({"granularity": 1, "scales": float_bytes(1)}, "granularity"),
        ({"form": 0x20}, "int8 payload"),
        ({"codes": bytes([255, 1, 0, 127])}, "finite"),
        ({"codes": bytes([0, 0, 0, 0])}, "padding"),
        ({"codes": bytes([1, 1, 1, 1, 1])}, "codes_size"),
        ({"num_bits": 32}, "raw"),
    ],
)
def test_wrong_floats_are_refused(changes, rule):
    floats = Floats(np.array([1.0, -2.5, 0.0, 0.75], np.float32))
    payload = encode_as(floats, FORMS["plain"])
    assert take_apart(payload)["raw"]
    with pytest.raises(PayloadError, match=rule):
        read(forge(payload, **changes))


def test_types_that_the_weights_do_not_fit_are_refused():
    eight = encode_as(sample("uniform", 8, scale="none"), FORMS["plain"])
    assert read(forge(eight, form=0x20)).weight.dtype == "int8"
    with pytest.raises(PayloadError, match="int4 weight"):
        read(forge(eight, form=0x40))
    palette = Codes(np.array([0, 1], np.uint8), 1, None, None, np.array([0, 0.5], np.float32))
    with pytest.raises(PayloadError, match="int8 weight"):
        read(forge(encode(palette), form=0x20))
    with pytest.raises(PayloadError, match="exact in float16"):
        read(forge(encode_as(sample("float", 32), FORMS["plain"]), form=0x60))


def test_zeros_without_a_zero_symbol_are_refused():
    payload = encode_as(sample("binary", 1), FORMS["plain"])
    with pytest.raises(PayloadError, match="no symbol is zero"):
        read(forge(payload, form=0x04, side=b"\xff" * 12))
    with pytest.raises(PayloadError, match="no symbol is zero"):
        encode_as(sample("binary", 1), Plan("plain", Zeros("bitmap")))


@pytest.mark.parametrize("dims", [[2**39], [2**39, 1], [1, 2**39], [2**20, 2**19], [3, 2**33, 16]], ids=str)
@pytest.mark.parametrize("plan", FORMS)
def test_a_claim_of_half_a_trillion_weights_costs_nothing(plan, dims):
    few = forge(written(plan, bias=None, scale="none"), dims=dims)
    empty = forge(few, codes=b"", side=b"")
    tracemalloc.start()
    for payload in (few, empty):
        with pytest.raises(PayloadError):
            read(payload)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(("encoding", "num_bits", "bytes_each"), [("uniform", 4, 6), ("float", 19, 12)])
def test_more_zeros_than_half_of_the_memory_are_refused(monkeypatch, encoding, num_bits, bytes_each):
    weight = sample(encoding, num_bits, (4, 4), scale="none", sparsity=0.9)
    payload = encode_as(weight, next(plan for plan in plans(weight) if plan.zeros.form == "run_length"))
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 2, "SC_PHYS_PAGES": 1000 * bytes_each}.get)
    assert read(forge(payload, dims=[10, 100])).weight.shape == (10, 100)
    with pytest.raises(PayloadError, match="half of this machine's memory"):
        read(forge(payload, dims=[7, 143]))


@pytest.mark.parametrize("plan", ["rans", "adaptive"])
def test_more_weights_than_the_words_can_hold_are_refused(plan):
    with pytest.raises(PayloadError):
        read(forge(written(plan, bias=None, scale="none"), dims=[10_000_000, 1]))


@pytest.mark.parametrize(("encoding", "num_bits"), ENCODINGS[::6] + (("ternary", 2), ("float", 19)))
def test_mutants_with_a_good_checksum_are_refused_or_read_as_a_weight(encoding, num_bits):
    rng = random.Random(num_bits)
    weight = sample(encoding, num_bits, (4, 16), scale="none" if encoding == "float" else "channel")
    refused = 0
    for plan in plans(weight):
        payload = encode_as(weight, plan)
        for _ in range(25):
            mutant = bytearray(payload)
            for _ in range(rng.choice((1, 1, 2, 4))):
                mutant[rng.randrange(8, min(len(mutant), rng.choice((30, 10_000))))] = rng.randrange(256)
            mutant = with_checksum(bytes(mutant))
            try:
                back = read(mutant)
            except PayloadError:
                refused += 1
            else:
                assert np.isfinite(back.weight.weight()).all()
                assert_same(decode(encode(back.weight)), back.weight)
    assert refused


def test_truncations_with_length_and_checksum_made_good_are_refused():
    for plan in FORMS:
        fields = take_apart(written(plan, scale="none"))
        body = put_together({**fields, "padding": b""})[12 + len(uvarint(fields["length"])) :]
        for size in range(len(body)):
            head = bytes(fields[name] for name in ("version", "encoding", "num_bits", "form"))
            length = math.ceil((13 + size) / 4) * 4
            cut = head + uvarint(length) + body[:size] + bytes(length - 13 - size)
            try:
                back = read(with_checksum(b"TFCW\0\0\0\0" + cut))
            except PayloadError:
                continue
            # The zero bytes of the padding stand for the last bytes that were cut off.
            assert len(body) - size <= length - 13 - size == back.size - 13 - size, (plan, size)


def test_entropy_coding_is_used_only_where_it_is_smaller():
    rng = np.random.default_rng(0)
    flat = Codes(rng.integers(0, 16, 64).astype(np.uint8), 4, np.ones(1, np.float32))
    assert read(encode(flat)).coder == "plain"
    skewed = Codes(rng.binomial(15, 0.2, (40, 40)).astype(np.uint8), 4, np.ones(1, np.float32))
    assert read(encode(skewed)).coder == "steady"
    assert read(encode(skewed, entropy_coded=False)).coder == "plain"


def test_a_bias_of_another_shape_or_type_is_refused():
    for bias in (np.zeros(5, np.float32), np.zeros((6, 1), np.float32), np.zeros(6)):
        with pytest.raises(PayloadError, match="bias must be 6 float32"):
            encode(sample("uniform", 4), bias=bias)
    with pytest.raises(PayloadError, match="int8 payload"):
        encode(sample("uniform", 8, scale="none", dtype="int8"), bias=BIAS)


def test_a_group_with_more_values_than_n_cannot_be_written():
    weight = sample("uniform", 4, sparsity=0.0)
    for coder in ("plain", "adaptive", "steady"):
        with pytest.raises(PayloadError, match="at most 1 nonzero"):
            encode_as(weight, Plan(coder, Zeros("n_of_m", 1, 4)))
