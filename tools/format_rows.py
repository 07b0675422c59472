"""The figures of `tools/bench_format` about sizes, packing and loading."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bench import BenchmarkError, Run

from tfcompress.codec import Codes, encode, read
from tfcompress.convert.discovery.structure import order0_entropy
from tfcompress.runtime import delegate_path

HERE = Path(__file__).resolve().parent
SIZES = (2**14, 2**16, 2**18, 2**20)
COLUMNS = 128
CLI = "from tfcompress.cli import main; main()"


def entropy_16(run: Run) -> float:
    """Bytes at rest less 64 over the order-0 entropy, at the worst of many tensors of at most 16 symbols."""
    return _worst(_few_symbols(run), 64)


def entropy_256(run: Run) -> float:
    """Bytes at rest less 400 over the order-0 entropy, at the worst of many tensors of at most 256 symbols."""
    return _worst(_many_symbols(run), 400)


def _worst(tensors: Iterator[Codes], allowance: int) -> float:
    ratios = []
    for codes in tensors:
        payload = read(encode(codes))
        entropy = order0_entropy(codes.symbols) * codes.symbols.size / 8
        ratios.append((payload.codes_size + payload.side_size - allowance) / entropy)
    return max(ratios)


def _few_symbols(run: Run) -> Iterator[Codes]:
    """Independent symbols, which no context can predict: the hardest of their entropy."""
    rng = np.random.default_rng(0)
    for size in SIZES[: 2 if run.quick else None]:
        for num_bits, deviation, zeros in (
            (4, 2.2, 0),
            (4, 1.0, 0),
            (4, 2.2, 0.8),
            (4, 2.2, 0.95),
            (4, 2.2, 0.99),
            (4, 2.2, 0.999),
            (2, 0.6, 0.99),
            (2, 0.6, 0.999),
            (3, 1.2, 0),
            (2, 0.6, 0),
        ):
            yield _gaussian(rng, size, num_bits, deviation, zeros)
        yield _coded(rng.choice(3, size, p=[0.25, 0.5, 0.25]), 2, encoding="ternary")
        yield _coded(rng.choice(2, size, p=[0.4, 0.6]), 1, encoding="binary")
        yield _coded(rng.choice(16, size, p=_zipf(16)), 4, codebook=np.arange(16, dtype=np.float32))
        yield _coded(rng.choice(16, size), 4, codebook=np.arange(1, 17, dtype=np.float32))


def _many_symbols(run: Run) -> Iterator[Codes]:
    rng = np.random.default_rng(1)
    for size in SIZES[: 2 if run.quick else None]:
        for num_bits, deviation, zeros in ((8, 30, 0), (8, 12, 0), (8, 30, 0.8), (6, 8, 0), (5, 4, 0)):
            yield _gaussian(rng, size, num_bits, deviation, zeros)
        for entries in (64, 256):
            codebook = np.arange(1, entries + 1, dtype=np.float32)
            yield _coded(rng.choice(entries, size, p=_zipf(entries)), 8, codebook=codebook)
            yield _coded(rng.choice(entries, size), 8, codebook=codebook)


def _gaussian(rng: np.random.Generator, size: int, num_bits: int, deviation: float, zeros: float) -> Codes:
    most = 2 ** (num_bits - 1) - 1
    codes = np.clip(np.rint(rng.normal(0, deviation, size)), -most, most) * (rng.random(size) >= zeros)
    return _coded(codes + most + 1, num_bits)


def _coded(
    symbols: np.ndarray, num_bits: int, codebook: np.ndarray | None = None, encoding: str | None = None
) -> Codes:
    shaped = symbols.reshape(-1, COLUMNS).astype(np.uint8)
    return Codes(shaped, num_bits, np.ones(1, np.float32), None, codebook, encoding)


def _zipf(entries: int) -> np.ndarray:
    weights = 1 / np.arange(1, entries + 1)
    return weights / weights.sum()


def clustered_mlp(run: Run) -> float:
    """Bytes of the file that TFMOT clustered, packed."""
    return _packed_mlp(run, "clustered")


def pruned_mlp(run: Run) -> float:
    """Bytes of the file that TFMOT pruned, packed."""
    return _packed_mlp(run, "pruned")


def _packed_mlp(run: Run, name: str) -> float:
    folder = run.cache / ("mlp-quick" if run.quick else "mlp")
    source, packed = folder / f"{name}.tflite", folder / f"{name}_packed.tflite"
    if not source.is_file():
        folder.mkdir(exist_ok=True)
        options = ["--quick"] if run.quick else []
        _run([HERE / "tfmot_mlp.py", run.data / "mnist.npz", folder, *options])
    _run(["-c", CLI, "pack", source, packed])
    expanded = folder / f"{name}_expanded.tflite"
    _run(["-c", CLI, "expand", packed, expanded])
    changed = json.loads(_run(["-c", CLI, "diff", source, expanded, "--json"], codes=(0, 1)))["tensors"]
    for row in changed:
        weights = row["before"] is not None and len(row["before"]["shape"]) > 1
        if weights and (row["after"] is None or row["before"]["sparsity"] != row["after"]["sparsity"]):
            raise BenchmarkError(f"packing lost zeros of the weight of shape {row['before']['shape']}")
        if weights and row["max_difference"] > 1e-6:
            raise BenchmarkError(f"packing moved a weight by {row['max_difference']}")
    return packed.stat().st_size


def _run(arguments: list[object], codes: tuple[int, ...] = (0,)) -> str:
    """Runs Python; its output."""
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode not in codes:
        raise BenchmarkError(f"{' '.join(map(str, arguments[-4:]))} failed: {done.stderr.strip()[-400:]}")
    return done.stdout


def rans_decode(run: Run) -> float:
    """Million weights a second that the native rANS decoder gives on one core, 4-bit codes."""
    return _decode_rate(2**20 if run.quick else 2**24, coder=2)


def adaptive_decode(run: Run) -> float:
    """Million weights a second that the native adaptive decoder gives on one core, 4-bit codes."""
    return _decode_rate(2**14 if run.quick else 2**18, coder=1)


def _decode_rate(count: int, coder: int) -> float:
    """The median of several runs, in the thread's own time: other work on the machine counts less."""
    library = ctypes.CDLL(str(delegate_path()))
    codes = _gaussian(np.random.default_rng(2), count, 4, 2.2, 0)
    symbols, decoded = codes.symbols.reshape(-1), np.zeros(count, np.uint8)
    section, error = np.zeros(2 * count + 4096, np.uint8), ctypes.create_string_buffer(400)
    # num_bits, alphabet, zero symbol, row; dense zeros
    shape = (4, 16, 8 if coder == 1 else -1, ctypes.c_uint64(COLUMNS), 0, ctypes.c_uint64(0), ctypes.c_uint64(0))
    library.tfc_encode_symbols.restype = ctypes.c_int64
    size = library.tfc_encode_symbols(
        coder, _place(symbols), ctypes.c_uint64(count), *shape, _place(section), ctypes.c_uint64(section.size), error,
        ctypes.c_size_t(len(error)),
    )  # fmt: skip
    if size < 0:
        raise BenchmarkError(f"the native encoder failed: {error.value.decode()}")
    times = []
    for _ in range(9):
        begin = time.thread_time()
        failed = library.tfc_decode_symbols(
            coder, _place(section), ctypes.c_uint64(size), _place(decoded), ctypes.c_uint64(count), *shape, error,
            ctypes.c_size_t(len(error)),
        )  # fmt: skip
        times.append(time.thread_time() - begin)
        if failed or not np.array_equal(decoded, symbols):
            raise BenchmarkError(f"the native decoder failed: {error.value.decode()}")
    return count / float(np.median(times)) / 1e6


def _place(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def pack_resnet50(run: Run) -> float:
    """Seconds of the whole `tfcompress pack` on a ResNet50 whose 25.6 M weights lie on 4-bit grids."""
    return _resnet50(run)["seconds"]


def pack_resnet50_memory(run: Run) -> tuple[float, float]:
    """Its peak resident memory in MB, against twice the file and 600 MB."""
    measured = _resnet50(run)
    return measured["peak"] / 1e6, 2 * measured["bytes"] / 1e6 + 600


def _resnet50(run: Run) -> dict[str, float]:
    """Packs once for both figures."""
    name = "mobilenet" if run.quick else "resnet50"
    source = run.cache / f"{name}.tflite"
    if not source.is_file():
        _run([Path(__file__), name, source])
    begin = time.monotonic()
    arguments = [sys.executable, "-c", CLI, "pack", str(source), str(run.cache / f"{name}_packed.tflite")]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    seconds = time.monotonic() - begin
    if status:
        raise BenchmarkError(f"tfcompress pack failed with status {os.waitstatus_to_exitcode(status)}")
    return {"seconds": seconds, "peak": usage.ru_maxrss * 1024, "bytes": source.stat().st_size}


def make_on_grid(name: str, out: Path) -> None:
    """Writes a float .tflite of a network of keras.applications whose kernels lie on 4-bit grids."""
    import keras

    from tfcompress.convert import to_float_tflite

    keras.utils.set_random_seed(0)
    maker = {"resnet50": keras.applications.ResNet50, "mobilenet": keras.applications.MobileNet}[name]
    model = maker(weights=None)
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables:
            if len(variable.shape) > 1:
                variable.assign(on_grid(variable.numpy(), rng, depthwise=variable.name == "depthwise_kernel"))
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
    out.write_bytes(to_float_tflite(model))


def on_grid(weight: np.ndarray, rng: np.random.Generator, *, depthwise: bool = False) -> np.ndarray:
    """Normal weights of the same shape, rounded to 4 bits under a scale per output channel."""
    weight = rng.normal(size=weight.shape)
    rest = (0, 1) if depthwise else tuple(range(weight.ndim - 1))
    scale = (np.abs(weight).max(axis=rest, keepdims=True) / 7).astype(np.float32)
    return (np.rint(weight / scale) * scale).astype(np.float32)


def small_file(run: Run) -> float:
    """Bytes of a packed network of six ops and 2,992 weights at 4 bits, names and signature kept."""
    del run  # small enough as it is
    import keras

    from tfcompress.convert import inspect, pack, to_float_tflite

    layers = keras.layers
    convolutions = [
        layers.Conv2D(filters, 3, strides=strides, padding="same", activation="relu")
        for filters, strides in ((8, 2), (8, 2), (12, 2), (10, 2))
    ]
    dense = [layers.Dense(20, activation="relu"), layers.Dense(10)]
    model = keras.Sequential([keras.Input((16, 16, 1)), *convolutions, layers.Flatten(), *dense], name="small")
    rng = np.random.default_rng(0)
    for layer in (*convolutions, *dense):
        layer.kernel.assign(on_grid(layer.kernel.numpy(), rng))
        layer.bias.assign(rng.normal(size=layer.bias.shape))
    content = pack(to_float_tflite(model))
    packed = [row for row in inspect(content) if row.coder is not None]
    weights = sum(int(np.prod(row.shape)) for row in packed)
    if len(packed) != 6 or weights != 2992:
        raise BenchmarkError(
            f"the network must have 6 packed ops and 2,992 weights. Received: {len(packed)}, {weights}."
        )
    return len(content)


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        make_on_grid(sys.argv[1], Path(sys.argv[2]))
