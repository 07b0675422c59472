"""Every encoding, granularity and place of the bias in TfcFullyConnected and TfcConv2D."""

import numpy as np
import pytest
from delegate_files import RELU, conv_file, dense_file

from tfcompress.codec import Codes, Floats

WIDTHS = [("ternary", 2), ("binary", 1), ("power_of_two", 3), ("power_of_two", 4), ("power_of_two", 6), ("uniform", 5)]
GRANULARITIES = ["absent", "tensor", "channel"]


def sample(shape, encoding: str, num_bits: int, granularity: str, seed: int = 0) -> Codes:
    """Random symbols that an encoding allows."""
    random = np.random.default_rng(seed)
    symbols = random.integers(0, 3 if encoding == "ternary" else 2**num_bits, shape).astype(np.uint8)
    if encoding == "power_of_two":  # 2^30 beside 1 would leave nothing of the small ones in any sum
        half = 2 ** (num_bits - 1)
        symbols = np.clip(symbols, half - 4, half + 4 if num_bits > 3 else half + 3).astype(np.uint8)
    scale = {"absent": None, "tensor": 1, "channel": shape[0]}[granularity]
    if scale is not None:
        scale = random.uniform(0.05, 0.2, scale).astype(np.float32)
    return Codes(symbols, num_bits, scale, 0 if granularity == "channel" else None, encoding=encoding)


pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")


@pytest.fixture
def run(open_file):
    """A function from a file and x to y."""

    def ran(content: bytes, x: np.ndarray) -> np.ndarray:
        interpreter = open_file(content)
        interpreter.resize_tensor_input(0, x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, x)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return ran


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize(("encoding", "num_bits"), WIDTHS)
def test_dense_equals_numpy(run, monkeypatch, encoding, num_bits, granularity):
    monkeypatch.setenv("TFC_ACT", "float")
    codes, x, bias = sample((10, 40), encoding, num_bits, granularity), normal(7, 40), normal(10)
    expected = np.maximum(x.astype(float) @ codes.weight().T.astype(float) + bias, 0)
    inside = run(dense_file(codes, inner_bias=bias, activation=RELU), x)
    np.testing.assert_allclose(inside, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert inside.tobytes() == run(dense_file(codes, bias=bias, activation=RELU), x).tobytes()
    assert inside.tobytes() == run(dense_file(codes, inner_bias=bias, activation=RELU, missing=True), x).tobytes()


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize(("encoding", "num_bits"), WIDTHS)
def test_pointwise_conv_equals_numpy(run, monkeypatch, encoding, num_bits, granularity):
    monkeypatch.setenv("TFC_ACT", "float")
    codes, x, bias = sample((9, 1, 1, 24), encoding, num_bits, granularity), normal(2, 5, 4, 24), normal(9)
    expected = x.astype(float) @ codes.weight().reshape(9, 24).T.astype(float) + bias
    result = run(conv_file(codes, (5, 4, 24), inner_bias=bias), x)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("encoding", "num_bits"), WIDTHS)
def test_int8_kernels_equal_the_reference(run, monkeypatch, encoding, num_bits):
    codes, x = sample((17, 3, 3, 9), encoding, num_bits, "channel"), normal(2, 8, 8, 9)
    content = conv_file(codes, (8, 8, 9), inner_bias=normal(17))
    best = run(content, x)
    monkeypatch.setenv("TFC_KERNEL", "ref")
    assert run(content, x).tobytes() == best.tobytes()
    monkeypatch.setenv("TFC_ACT", "float")
    exact = run(content, x)
    assert 0 < np.abs(best - exact).max() < 0.02 * np.abs(exact).max()


def test_levels_that_do_not_occur_cost_no_precision(run):
    # Of 6 bits only -2 ... 2 are used: as exact in int8 as the same weights in 4 bits.
    digits = np.random.default_rng(0).integers(-2, 3, (8, 64))
    scale = np.linspace(0.1, 0.2, 8, dtype=np.float32)
    wide, narrow = (
        Codes((digits + 2 ** (num_bits - 1)).astype(np.uint8), num_bits, scale, 0, encoding="power_of_two")
        for num_bits in (6, 4)
    )
    np.testing.assert_array_equal(wide.weight(), narrow.weight())
    x = normal(3, 64)
    np.testing.assert_allclose(run(dense_file(wide), x), run(dense_file(narrow), x), rtol=1e-6)


def test_two_biases_are_refused(run):
    codes, bias = sample((10, 40), "ternary", 2, "channel"), normal(10)
    with pytest.raises(RuntimeError, match=r"TfcFullyConnected \(node 0\): the bias must be .* not both"):
        run(dense_file(codes, bias=bias, inner_bias=bias), normal(1, 40))


def _blocks() -> Codes:
    scale = np.full(40, 0.5, np.float32)
    return Codes(np.ones((10, 40), np.uint8), 4, scale, 0, block=10)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (Floats(normal(10, 40)), r"float32 weights as codes.*encoding=6.*TfcDecode"),
        (Codes(np.ones((10, 40), np.uint8), 4, None, dtype="int8"), r"float32 weights as codes.*type=int8"),
        (Codes(np.ones((10, 40), np.uint8), 4, None, dtype="float16"), r"float32 weights as codes.*type=float16"),
        (_blocks(), r"scales must lie along the output channels.*block=10.*TfcDecode"),
        (Codes(np.ones((10, 40), np.uint8), 4, np.ones(40, np.float32), 1), r"output channels.*channel_axis=1"),
    ],
)
def test_payloads_for_other_ops_are_refused(run, weight, message):
    with pytest.raises(RuntimeError, match=r"TfcFullyConnected \(node 0\): .*" + message):
        run(dense_file(weight), normal(1, 40))
