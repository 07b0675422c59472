"""The stand-alone C11 decoder, written from FORMAT.md alone, against codec."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_decoder import SOURCES, WARNINGS, CDecoder, build, tensor_bytes
from forging import NUMBERS, forge, take_apart, uvarint, with_checksum
from mutants import payloads_of
from payload_samples import ENCODINGS, SHAPES, plans, sample

from tfcompress.codec import Floats, encode, read
from tfcompress.codec.container import encode_as
from tfcompress.convert import pack, to_float_tflite
from tfcompress.convert.graph import load
from tfcompress.errors import PayloadError

SAVED_MODELS = Path(__file__).parents[2] / "saved_models"
GOLDEN = sorted((Path(__file__).parents[1] / "codec" / "golden").glob("*.npz"))


def assert_same(decoder, payload: bytes) -> None:
    """Tensor, symbols and bias are the reference's."""
    expected = read(payload, reference=True)
    answer = decoder.decode(payload)
    assert answer.decoded, answer.status
    assert answer.tensor == tensor_bytes(expected.weight)
    weight = expected.weight
    symbols = weight.exponents() if isinstance(weight, Floats) else weight.symbols
    assert answer.symbols == symbols.tobytes()
    assert answer.bias == (b"" if expected.bias is None else expected.bias.tobytes())


def same_verdict(decoder, payload: bytes) -> bool:
    """Whether the payload is accepted; both readers must agree on that and on the tensor."""
    answer = decoder.decode(payload)
    try:
        expected = read(payload, reference=True)
    except PayloadError:
        assert answer.status not in ("TFC_OK", "OVER_LIMIT")
        return False
    assert answer.decoded, answer.status
    assert answer.tensor == tensor_bytes(expected.weight)
    return True


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_golden_payloads(c_decoder, file):
    arrays = np.load(file)
    for name in set(arrays.files) - {"tensor", "bias"}:
        assert_same(c_decoder, arrays[name].tobytes())


@pytest.mark.parametrize(("encoding", "num_bits"), ENCODINGS)
def test_every_coder_form_and_shape(c_decoder, encoding, num_bits):
    for shape in SHAPES:
        for scale in ("none", "channel"):
            weight = sample(encoding, num_bits, shape, scale=scale)
            for plan in plans(weight):
                assert_same(c_decoder, encode_as(weight, plan))


@pytest.mark.parametrize("dtype", ["int8", "int4", "float16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_type(c_decoder, dtype, shape):
    encodings = [("uniform", 4), ("ternary", 2), ("binary", 1), ("power_of_two", 3)]
    for encoding, num_bits in encodings + [("float", 16)] * (dtype == "float16"):
        weight = sample(encoding, num_bits, shape, scale="none", dtype=dtype)
        for plan in plans(weight):
            assert_same(c_decoder, encode_as(weight, plan))


def test_large_weights_with_biases_and_blocks(c_decoder):
    for scale in ("tensor", "channel", "block"):
        weight = sample("uniform", 4, (40, 3, 96), scale=scale, sparsity=0.9)
        bias = np.linspace(-1, 1, 40, dtype=np.float32)
        assert_same(c_decoder, encode(weight, bias=bias, smallest=True))
        assert_same(c_decoder, encode(weight, bias=bias, entropy_coded=False))


def test_float16_at_both_ends(c_decoder):
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves) & (halves.view(np.uint16) != 0x8000)]
    assert_same(c_decoder, encode(Floats(halves.astype(np.float32), "float16")))


@pytest.fixture(scope="module")
def payload_of_each() -> list[bytes]:
    """Small payloads: every encoding, each with another coder and form."""
    written = []
    for index, (encoding, num_bits) in enumerate(ENCODINGS):
        weight = sample(encoding, num_bits, (2, 8), scale="tensor")
        each = plans(weight)
        written += [encode_as(weight, each[(7 * index + step) % len(each)]) for step in range(2)]
    return written


def test_truncated_at_every_byte(c_decoder, payload_of_each):
    for payload in payload_of_each:
        for size in range(len(payload)):
            assert not c_decoder.decode(payload[:size]).decoded
        assert not c_decoder.decode(payload + bytes(4)).decoded


def test_a_flipped_bit_is_always_refused(c_decoder, payload_of_each):
    for payload in payload_of_each:
        for bit in range(8 * len(payload)):
            damaged = bytearray(payload)
            damaged[bit // 8] ^= 1 << bit % 8
            assert not c_decoder.decode(bytes(damaged)).decoded


def test_every_byte_wrong_under_a_good_checksum(c_decoder, payload_of_each):
    accepted = refused = 0
    for payload in payload_of_each[::2]:
        for at in range(8, len(payload)):
            for flip in (1 << at % 8, 0xFF):
                damaged = bytearray(payload)
                damaged[at] ^= flip
                good = same_verdict(c_decoder, with_checksum(bytes(damaged)))
                accepted, refused = accepted + good, refused + (not good)
    assert accepted > 300
    assert refused > 300


WRONG = [0, 1, 2, 3, 5, 8, 9, 127, 255, 256, 2**31, 2**32, 2**40 - 1, 2**40, 2**62]


@pytest.mark.parametrize("field", [*NUMBERS, "rank", "zeros_a", "zeros_b", "side_size", "codes_size", "length"])
def test_every_number_of_the_header_wrong(c_decoder, payload_of_each, field):
    refused = 0
    for payload in payload_of_each:
        fields = take_apart(payload)
        if field not in fields:
            continue
        values = [*map(uvarint, WRONG), b"\x80\x00", b"\xff" * 8 + b"\x7f", b"\xff" * 9 + b"\x01"]
        for value in WRONG if field == "length" else values:
            refused += not same_verdict(c_decoder, forge(payload, **{field: value}))
    assert refused > 50


@pytest.mark.parametrize("field", ["version", "encoding", "num_bits", "form"])
def test_every_fixed_field_wrong(c_decoder, payload_of_each, field):
    for payload in payload_of_each[::3]:
        accepted = [value for value in range(256) if same_verdict(c_decoder, forge(payload, **{field: value}))]
        assert take_apart(payload)[field] in accepted
        assert len(accepted) < 16


@pytest.mark.parametrize("dims", [[2**20, 2**20], [2**40 - 1, 2**40 - 1], [2**32, 2**32], [0], [16, 0], [1] * 9])
def test_absurd_shapes(c_decoder, payload_of_each, dims):
    for payload in payload_of_each:
        assert not c_decoder.decode(forge(payload, dims=dims)).decoded


def test_adaptive_sections_that_no_encoder_writes(c_decoder):
    weight = sample("uniform", 8, (3, 7, 32))
    payload = encode_as(weight, next(plan for plan in plans(weight) if plan.coder == "adaptive"))
    for codes in (b"\xff" * 4, b"\xff" * 64, b"\x80\x00", b"\x00"):
        assert not same_verdict(c_decoder, forge(payload, codes=codes))
    assert same_verdict(c_decoder, forge(payload, codes=b""))
    # Some of these end in the middle of their symbols, with more than 20 zeros to read past the end.
    verdicts = {same_verdict(c_decoder, forge(payload, codes=bytes([first, 1]))) for first in range(256)}
    assert verdicts == {True, False}


def test_a_machine_of_32_bits_and_big_endian(tmp_path):
    compiler, emulator = shutil.which("powerpc-linux-gnu-gcc"), shutil.which("qemu-ppc")
    if compiler is None or emulator is None:
        pytest.skip("The C11 decoder is NOT TESTED on big-endian: install gcc-powerpc-linux-gnu and qemu-user.")
    decoder = CDecoder(build(tmp_path, compiler=compiler, flags=("-static",)), emulator, order=">")
    for file in GOLDEN:
        arrays = np.load(file)
        for name in set(arrays.files) - {"tensor", "bias"}:
            payload = arrays[name].tobytes()
            weight = read(payload, reference=True).weight
            width = {"float32": 4, "float16": 2}.get(weight.dtype, 1)
            expected = np.frombuffer(tensor_bytes(weight), f"<u{width}").astype(f">u{width}").tobytes()
            assert decoder.decode(payload).tensor == expected
    decoder.close()


@pytest.mark.parametrize("name", ["clang", "gcc", "arm-none-eabi-gcc"])
def test_no_warning_and_no_library_beyond_memory(name, tmp_path):
    compiler = shutil.which(name)
    if compiler is None:
        pytest.skip(f"The C11 decoder is not compiled by {name}: it is not installed.")
    target = ["-mthumb", "-mcpu=cortex-m0plus"] if name.startswith("arm") else []
    output = tmp_path / "decoder.o"
    flags = ["-std=c11", "-Os", "-fno-stack-protector", *target, *WARNINGS]
    subprocess.run([compiler, *flags, "-c", SOURCES / "tfc_decoder.c", "-o", output], check=True)
    listing = subprocess.run(["nm", "-u", output], check=True, capture_output=True, text=True).stdout
    wanted = set(listing.split()) - {"U", "_GLOBAL_OFFSET_TABLE_"}
    assert {each for each in wanted if not each.startswith(("__aeabi", "__gnu"))} <= {"memcpy", "memset"}


def test_the_program_sees_a_sanitizer_report(tmp_path):
    source = tmp_path / "tfc_decoder.c"
    text = (SOURCES / "tfc_decoder.c").read_text()
    broken = text.replace("if (r->at == r->size) return false;", "")
    assert broken != text
    source.write_text(broken)
    program = build(tmp_path, source=source)
    payload = encode_as(sample("uniform", 4, (6, 16)), plans(sample("uniform", 4, (6, 16)))[0])
    cut = forge(payload, codes=take_apart(payload)["codes"][:-3])
    request = struct.pack("=I", len(cut)) + cut
    result = subprocess.run([program], input=request, capture_output=True)
    assert b"AddressSanitizer" in result.stderr


@pytest.fixture(scope="module")
def packed_models() -> list[bytes]:
    """The saved model and one with convolutions, dense and recurrent layers, each on a grid of its own, packed."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inputs = x = layers.Input((9, 9, 2), batch_size=1)
    x = layers.Conv2D(24, 3)(x)
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.Reshape((25, 24))(x)
    x = layers.GRU(32)(x)
    models = [keras.Model(inputs, layers.Dense(40)(x)), keras.models.load_model(SAVED_MODELS / "digits_cnn.keras")]
    files = []
    for model, num_bits in zip(models, (3, 8), strict=True):
        for variable in model.trainable_variables:
            if len(variable.shape) > 1:
                step = float(np.abs(variable).max()) / (2 ** (num_bits - 1) - 1)
                variable.assign(np.rint(variable / step).astype(np.float32) * np.float32(step))
        files.append(pack(to_float_tflite(model)))
    return files


def test_packed_keras_models(c_decoder, packed_models):
    for content in packed_models:
        model = load(content)
        found = payloads_of(model)
        assert len(found) > 3
        for _, _, buffer in found:
            assert_same(c_decoder, np.asarray(model.buffers[buffer].data, np.uint8).tobytes())
