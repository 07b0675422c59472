"""What can be wrong with the machine, the runtime or the call: one clear line each, and never wrong numbers."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from delegate_files import conv_file, random_codes

from tfcompress.errors import NativeLibraryError
from tfcompress.runtime import Interpreter, interpreter

SHAPE = (12, 12, 8)


@pytest.fixture(scope="module")
def packed() -> bytes:
    return conv_file(random_codes((16, 3, 3, 8)), SHAPE)


def run(content, x, **options):
    made = Interpreter(model_content=content, **options)
    made.resize_tensor_input(made.get_input_details()[0]["index"], x.shape)
    made.allocate_tensors()
    made.set_tensor(made.get_input_details()[0]["index"], x)
    made.invoke()
    return made.get_tensor(made.get_output_details()[0]["index"])


def image(batch=1):
    return np.random.default_rng(0).normal(size=(batch, *SHAPE)).astype(np.float32)


@pytest.fixture
def old_cpu(tmp_path, monkeypatch):
    """A processor that knows no AVX2, as far as Python can tell."""
    path = tmp_path / "cpuinfo"
    path.write_text("flags\t\t: fpu sse2 avx\n")
    monkeypatch.setattr(interpreter, "_CPU", path)
    monkeypatch.setattr(interpreter.platform, "machine", lambda: "x86_64")
    interpreter._is_fast.cache_clear()
    yield path
    interpreter._is_fast.cache_clear()


def test_a_cpu_without_fast_kernels_is_told_once_per_packed_model(packed, old_cpu, float_path):
    with pytest.warns(RuntimeWarning, match="CPU with AVX2 or on 64-bit Arm. Received: model_content, x86_64"):
        Interpreter(model_content=packed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Interpreter(model_path=float_path)  # needs none of them
        interpreter._is_fast.cache_clear()
        old_cpu.write_text("flags\t\t: fpu sse2 avx avx2\n")
        Interpreter(model_content=packed)
        interpreter._is_fast.cache_clear()
        old_cpu.unlink()
        Interpreter(model_content=packed)


def test_portable_kernels_give_the_same_results(packed, monkeypatch):
    expected = run(packed, image())
    monkeypatch.setenv("TFC_KERNEL", "ref")
    assert run(packed, image()).tobytes() == expected.tobytes()


@pytest.mark.parametrize("threads", [2, 64])
def test_more_threads_than_cores_give_the_same_bits(packed, threads):
    assert run(packed, image(3), num_threads=threads).tobytes() == run(packed, image(3), num_threads=1).tobytes()


def test_a_delegate_older_than_the_file(packed):
    assert packed.count(b"TfcConv2D") == 1
    with pytest.raises(NativeLibraryError, match="must be an op of this release of tfcompress.*Use the release that"):
        Interpreter(model_content=packed.replace(b"TfcConv2D", b"TfcConv9D"))


@pytest.mark.parametrize("shape", [(1, 12, 12, 7), (1, 12, 12), (12, 8)])
def test_an_impossible_resize(packed, shape):
    made = Interpreter(model_content=packed)
    made.resize_tensor_input(made.get_input_details()[0]["index"], shape)
    with pytest.raises(NativeLibraryError, match="x must be NHWC with 8 channels") as caught:
        made.allocate_tensors()
    assert "\n" not in str(caught.value)


def test_memory_that_does_not_suffice_is_one_line(packed, tmp_path):
    path = tmp_path / "packed.tflite"
    path.write_bytes(packed)
    program = """
import resource, sys
from tfcompress.runtime import Interpreter
made = Interpreter(model_path=sys.argv[1])
made.allocate_tensors()
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
made.resize_tensor_input(made.get_input_details()[0]["index"], (1, 6000, 6000, 8))
made.allocate_tensors()
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "tfcompress: memory must be enough for the decoded weights and the workspace" in last
