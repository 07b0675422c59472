"""The delegate inside the two stock interpreters, on hand-built files."""

import ctypes
import gc
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema
from delegate_files import (
    NONE,
    RELU,
    RELU6,
    SAME,
    VALID,
    FileBuilder,
    conv_file,
    decode_conv_file,
    dense_file,
    plain_conv_file,
    random_codes,
)

from tfcompress.codec import encode
from tfcompress.runtime import delegate_path

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")


def run(interpreter, x: np.ndarray) -> np.ndarray:
    """One inference at the shape of x."""
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stock(content: bytes):
    return litert.Interpreter(model_content=content, num_threads=1)


@pytest.mark.parametrize("palette", [False, True])
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6])
def test_conv2d_equals_the_builtin_op(open_file, monkeypatch, palette, activation):
    monkeypatch.setenv("TFC_ACT", "float")
    codes = random_codes((16, 3, 3, 8), palette=palette)
    bias = normal(16, seed=1)
    x = normal(2, 9, 7, 8, seed=2) * 3
    result = run(open_file(conv_file(codes, (9, 7, 8), bias=bias, options=(1, activation, SAME, 1, 1, 1, 1))), x)
    expected = run(stock(plain_conv_file(codes.weight(), (9, 7, 8))), x) + bias
    if activation != NONE:
        expected = np.clip(expected, 0, 6 if activation == RELU6 else None)
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    # TensorFlow refuses strides and dilations at once.
    ("strides", "dilations"),
    [((1, 1), (1, 1)), ((2, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 1), (2, 3))],
)
@pytest.mark.parametrize("padding", [SAME, VALID])
def test_conv2d_geometry_equals_tensorflow(open_file, monkeypatch, strides, dilations, padding):
    import tensorflow as tf

    monkeypatch.setenv("TFC_ACT", "float")
    codes = random_codes((5, 3, 2, 4))
    x = normal(1, 10, 11, 4)
    options = (1, NONE, padding, *strides, *dilations)
    result = run(open_file(conv_file(codes, (10, 11, 4), options=options)), x)
    filters = codes.weight().transpose(1, 2, 3, 0)
    expected = tf.nn.convolution(
        x, filters, strides, "VALID" if padding == VALID else "SAME", dilations=dilations
    ).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("bias", ["given", "absent", "missing"])
def test_fully_connected(open_file, monkeypatch, bias):
    monkeypatch.setenv("TFC_ACT", "float")
    codes = random_codes((10, 20), palette=True)
    values = normal(10, seed=1) if bias == "given" else None
    x = normal(7, 20)
    result = run(open_file(dense_file(codes, bias=values, activation=RELU, missing=bias == "missing")), x)
    expected = np.maximum(x @ codes.weight().T + (0 if values is None else values), 0)
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())


def test_int8_activations_are_near_and_the_default(open_file, monkeypatch):
    codes, x = random_codes((16, 3, 3, 8)), normal(1, 8, 8, 8)
    content = conv_file(codes, (8, 8, 8))
    quantized = run(open_file(content), x)
    monkeypatch.setenv("TFC_ACT", "float")
    exact = run(open_file(content), x)
    difference = np.abs(quantized - exact).max() / np.abs(exact).max()
    assert 0 < difference < 0.02


def test_reference_kernels_give_the_same_bits(open_file, monkeypatch):
    codes, x = random_codes((17, 3, 3, 9)), normal(2, 8, 8, 9)
    content = conv_file(codes, (8, 8, 9))
    best = run(open_file(content), x)
    monkeypatch.setenv("TFC_KERNEL", "ref")
    assert run(open_file(content), x).tobytes() == best.tobytes()


def _op_names(interpreter) -> list[str]:
    return [op["op_name"] for op in interpreter._get_ops_details()]


def test_xnnpack_takes_the_conv_behind_a_decoded_weight(open_file):
    codes, x = random_codes((16, 3, 3, 8)), normal(3, 8, 8, 8)
    interpreter = open_file(decode_conv_file(codes, (8, 8, 8), times=1))
    result = run(interpreter, x)
    # One delegate node is ours, the other XNNPACK's, and it reads the decoded weight.
    assert _op_names(interpreter) == ["TfcDecode", "CONV_2D", "DELEGATE", "DELEGATE"]
    conv, last = interpreter._get_ops_details()[1], interpreter._get_ops_details()[-1]
    assert set(last["outputs"]) == set(conv["outputs"])
    plain = stock(plain_conv_file(codes.weight(), (8, 8, 8)))
    assert result.tobytes() == run(plain, x).tobytes()


def test_decoded_weight_without_xnnpack():
    codes, x = random_codes((16, 3, 3, 8)), normal(3, 8, 8, 8)
    interpreter = litert.Interpreter(
        model_content=decode_conv_file(codes, (8, 8, 8)),
        experimental_delegates=[litert.load_delegate(str(delegate_path()))],
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    result = run(interpreter, x)
    assert _op_names(interpreter) == ["TfcDecode", "CONV_2D", "DELEGATE"]
    expected = run(stock(plain_conv_file(codes.weight(), (8, 8, 8))), x)
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def static_delegate(tmp_path_factory) -> Path:
    """A second delegate, without AllowDynamicTensors, built from the C++ test sources."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    path = tmp_path_factory.mktemp("static") / "libstatic_delegate.so"
    source = ROOT / "tests" / "native" / "static_delegate.cc"
    include = ROOT / "tfcompress" / "native"
    subprocess.run([compiler, "-std=c++17", "-shared", "-fPIC", f"-I{include}", source, "-o", path], check=True)
    return path


def test_ten_resizes_beside_a_static_delegate(open_file, static_delegate):
    # 2 x 2.4 MB of decoded weights: a leak of one set per resize would be 50 MB.
    codes = random_codes((256, 3, 3, 256), num_bits=2)
    content = decode_conv_file(codes, (4, 4, 256), times=2, entropy_coded=False)
    applied = ctypes.CDLL(str(static_delegate)).times_applied
    interpreter = open_file(content, static_delegate)
    plain = stock(plain_conv_file(codes.weight(), (4, 4, 256), times=2))
    process, resident = psutil.Process(), []
    before = applied()
    for step in range(10):
        x = normal(1 + step % 3, 4 + step % 2, 4, 256, seed=step)
        np.testing.assert_array_equal(run(interpreter, x), run(plain, x))
        gc.collect()
        resident.append(process.memory_info().rss)
    assert applied() - before >= 9  # the delegates really were applied again
    assert max(resident[3:]) - resident[2] < 8e6


def test_ten_resizes_of_our_own_kernels(open_file, static_delegate):
    codes = random_codes((32, 3, 3, 16))
    content = conv_file(codes, (8, 8, 16))
    beside, alone = open_file(content, static_delegate), open_file(content)
    for step in range(10):
        x = normal(1 + step % 4, 3 + step, 8 - step % 3, 16, seed=step)
        fresh = run(open_file(content), x)
        assert run(beside, x).tobytes() == fresh.tobytes()
        assert run(alone, x).tobytes() == fresh.tobytes()


def test_an_image_does_not_depend_on_its_batch(open_file):
    codes, x = random_codes((8, 3, 3, 4)), normal(3, 6, 6, 4)
    x[1] *= 100
    interpreter = open_file(conv_file(codes, (6, 6, 4)))
    whole = run(interpreter, x).copy()
    for i in range(3):
        assert run(interpreter, x[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()


def test_nan_stays_in_its_image(open_file):
    codes, x = random_codes((8, 3, 3, 4)), normal(2, 6, 6, 4)
    interpreter = open_file(conv_file(codes, (6, 6, 4)))
    clean = run(interpreter, x).copy()
    x[0, 3, 3, 1] = np.nan
    dirty = run(interpreter, x)
    assert np.isnan(dirty[0]).all()
    assert dirty[1].tobytes() == clean[1].tobytes()


def test_two_interpreters_in_two_threads(open_file):
    codes = random_codes((32, 3, 3, 16))
    content = conv_file(codes, (8, 8, 16))
    inputs = [normal(1, 8, 8, 16, seed=seed) for seed in range(40)]
    one = open_file(content)
    expected = [run(one, x).copy() for x in inputs]
    results: dict[int, list[np.ndarray]] = {}

    def work(name: int) -> None:
        interpreter = open_file(content)
        results[name] = [run(interpreter, x).copy() for x in inputs]

    threads = [threading.Thread(target=work, args=(name,)) for name in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in range(2):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(results[name], expected, strict=True))


@pytest.mark.parametrize("at", [0, 5, 13, 40, 300])
def test_damaged_payload_is_one_clear_error(open_file, at):
    content = bytearray(conv_file(random_codes((16, 3, 3, 8)), (8, 8, 8)))
    content[content.find(b"TFCW") + at] ^= 4
    with pytest.raises(RuntimeError, match=r"tfcompress: TfcConv2D \(node 0\): .* must .*damaged"):
        open_file(bytes(content))


def test_shape_that_does_not_fit_is_an_error(open_file):
    interpreter = open_file(conv_file(random_codes((4, 3, 3, 8)), (8, 8, 8)))
    interpreter.resize_tensor_input(0, [1, 8, 8, 7])
    with pytest.raises(RuntimeError, match=r"x must be NHWC with 8 channels.*\[1, 8, 8, 7\]"):
        interpreter.allocate_tensors()


def test_options_are_refused():
    with pytest.raises(ValueError, match="without options. Received: threads=4"):
        litert.load_delegate(str(delegate_path()), {"threads": "4"})


def test_only_our_functions_are_visible():
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("needs nm")
    lines = subprocess.run([nm, "-D", "--defined-only", delegate_path()], check=True, capture_output=True, text=True)
    names = {line.split()[-1] for line in lines.stdout.splitlines()}
    plugin = {"tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate"}
    assert plugin | {"tfc_decode", "tfc_version"} <= names
    assert all(name in plugin or name.startswith("tfc_") for name in names)


def test_decoded_table_of_a_gather_and_as_an_output(open_file):
    # An op that XNNPACK leaves to the runtime, and a constant that leaves the graph.
    codes = random_codes((12, 5), palette=True)
    file = FileBuilder()
    indices, table = file.tensor([3], dtype=np.int32), file.tensor([12, 5])
    rows = file.tensor([3, 5])
    file.custom("TfcDecode", [file.payload(encode(codes))], table, [1])
    gather = file.operator(schema.BuiltinOperator.GATHER, [table, indices], [rows])
    gather.builtinOptionsType = schema.BuiltinOptions.GatherOptions
    gather.builtinOptions = schema.GatherOptionsT()
    file.graph.inputs, file.graph.outputs = [indices], [rows, table]
    interpreter = open_file(file.finish())
    picked = np.array([11, 0, 7], np.int32)
    np.testing.assert_array_equal(run(interpreter, picked), codes.weight()[picked])
    np.testing.assert_array_equal(interpreter.get_tensor(table), codes.weight())


@pytest.mark.filterwarnings("ignore:.*preserve_all_tensors")
@pytest.mark.parametrize("options", [{"experimental_preserve_all_tensors": True}, {"num_threads": 2}])
def test_options_of_the_interpreter(options):
    codes, x = random_codes((16, 3, 3, 8)), normal(2, 8, 8, 8)
    for content in (conv_file(codes, (8, 8, 8)), decode_conv_file(codes, (8, 8, 8))):
        results = []
        for chosen in ({}, options):
            delegates = [litert.load_delegate(str(delegate_path()))]
            interpreter = litert.Interpreter(model_content=content, experimental_delegates=delegates, **chosen)
            results.append(run(interpreter, x).copy())
        np.testing.assert_array_equal(*results)
