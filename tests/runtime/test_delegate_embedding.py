"""TfcEmbedding: rows of a table that stays packed in memory."""

import subprocess
import sys

import numpy as np
import pytest
from delegate_files import FileBuilder

from tfcompress.codec import Codes, Floats, encode
from tfcompress.runtime import delegate_path

WIDTHS = [
    *(("uniform", bits) for bits in (2, 3, 4, 5, 6, 7, 8)),
    *(("palette", bits) for bits in (1, 2, 3, 4, 5, 6, 7, 8)),
    *(("power_of_two", bits) for bits in (3, 4, 5, 6)),
    ("ternary", 2),
    ("binary", 1),
]


pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")


def table(shape, encoding: str = "uniform", num_bits: int = 4, *, scales: str = "row", block: int = 0) -> Codes:
    """A table of random symbols."""
    random = np.random.default_rng(num_bits)
    codebook = None
    if encoding == "palette":
        codebook = np.unique(random.normal(size=2**num_bits)).astype(np.float32)
    count = {"palette": 2**num_bits, "ternary": 3}.get(encoding, 2**num_bits)
    symbols = random.integers(0, count, shape).astype(np.uint8)
    size = {"row": symbols.size // block if block else shape[0], "tensor": 1, "absent": 0}[scales]
    scale = random.uniform(0.05, 0.2, size).astype(np.float32) if size else None
    return Codes(symbols, num_bits, scale, 0 if scales == "row" else None, codebook, encoding, block)


def embedding_file(weight, indices_shape, *, bias=None, dtype=np.int32, entropy_coded=True) -> bytes:
    """indices -> TfcEmbedding -> y."""
    file = FileBuilder()
    indices = file.tensor(indices_shape, batch=bool(indices_shape), dtype=dtype)
    y = file.tensor([*indices_shape, *weight.shape[1:]])
    payload = file.payload(encode(weight, bias=bias, entropy_coded=entropy_coded))
    file.custom("TfcEmbedding", [indices, payload], y, [1])
    file.graph.inputs, file.graph.outputs = [indices], [y]
    return file.finish()


def gather(interpreter, indices: np.ndarray) -> np.ndarray:
    if indices.ndim:
        interpreter.resize_tensor_input(0, indices.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, indices)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def some_indices(*shape: int, rows: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, rows, shape).astype(np.int32)


@pytest.mark.parametrize(("encoding", "num_bits"), WIDTHS)
def test_rows_are_exact(open_file, encoding, num_bits):
    indices = some_indices(2, 7, rows=23)
    for columns, scales in ((1, "tensor"), (19, "row"), (64, "absent")):
        weight = table((23, columns), encoding, num_bits, scales=scales)
        result = gather(open_file(embedding_file(weight, (1, 7))), indices)
        assert result.shape == (2, 7, columns)
        assert result.tobytes() == weight.weight()[indices].tobytes()


@pytest.mark.parametrize("kernel", ["ref", "best"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (1, 2, 3, 2)])
def test_indices_of_any_rank_and_rows_of_any_shape(open_file, monkeypatch, shape, kernel):
    monkeypatch.setenv("TFC_KERNEL", kernel)
    indices = some_indices(*shape, rows=11)
    for rows in ((11,), (11, 6), (11, 2, 3), (11, 2, 1, 5)):
        weight = table(rows, num_bits=3)
        result = gather(open_file(embedding_file(weight, shape)), np.asarray(indices))
        assert result.shape == (*shape, *rows[1:])
        assert result.tobytes() == weight.weight()[indices].tobytes()


def test_blocks_have_their_own_scales(open_file):
    weight = table((9, 24), num_bits=3, block=6)
    indices = some_indices(8, rows=9)
    result = gather(open_file(embedding_file(weight, (8,))), indices)
    assert result.tobytes() == weight.weight()[indices].tobytes()


def test_ten_resizes(open_file):
    weight = table((40, 12), "palette", 5)
    interpreter = open_file(embedding_file(weight, (1, 4)))
    for step in range(10):
        indices = some_indices(1 + step % 4, 1 + step * 3 % 7, rows=40)
        assert gather(interpreter, indices).tobytes() == weight.weight()[indices].tobytes()
    assert gather(interpreter, np.zeros((0, 3), np.int32)).shape == (0, 3, 12)


@pytest.mark.parametrize("index", [-1, 40, 2**31 - 1, -(2**31)])
def test_an_index_out_of_range_is_named(open_file, index):
    interpreter = open_file(embedding_file(table((40, 12)), (4,)))
    indices = np.array([0, 39, index, 1], np.int32)
    message = rf"TfcEmbedding \(node 0\): an index must be 0 to rows - 1. Received: indices\[2\]={index}, rows=40"
    with pytest.raises(RuntimeError, match=message):
        gather(interpreter, indices)
    indices[2] = 39  # and the next one is served
    assert gather(interpreter, indices).tobytes() == table((40, 12)).weight()[indices].tobytes()


@pytest.mark.parametrize(
    ("weight", "bias", "dtype", "message"),
    [
        (Floats(np.ones((10, 4), np.float32)), None, np.int32, "float32 weights as codes"),
        (Codes(np.ones((10, 4), np.uint8), 4, None, dtype="int8"), None, np.int32, "float32 weights as codes"),
        (Codes(np.ones((10, 4), np.uint8), 4, np.ones(4, np.float32), 1), None, np.int32, "along the rows"),
        (table((10, 4)), np.ones(10, np.float32), np.int32, "must have no bias"),
        (table((10, 4)), None, np.float32, "the indices must be int32. Received: type=float32"),
    ],
)
def test_what_is_no_embedding_is_refused(open_file, weight, bias, dtype, message):
    content = embedding_file(weight, (3,), bias=bias, dtype=dtype)
    with pytest.raises(RuntimeError, match=r"TfcEmbedding \(node 0\): .*" + message):
        open_file(content).allocate_tensors()


MEASURE = """
import sys
import numpy as np
import psutil
from ai_edge_litert import interpreter as litert
delegates = [litert.load_delegate(sys.argv[1])]
resident = psutil.Process().memory_info
before = resident().rss
interpreter = litert.Interpreter(model_path=sys.argv[2], experimental_delegates=delegates)
interpreter.allocate_tensors()
interpreter.set_tensor(0, np.array([0, 5000, 16383, 7, 7], np.int32))
interpreter.invoke()
print(resident().rss - before)
"""


def test_the_table_stays_packed(tmp_path):
    # 16 M weights of 2 bits: 4 MB in the file and 4 MB in memory; a byte each they would be 16 MB.
    symbols = np.random.default_rng(0).integers(0, 4, (1 << 14, 1 << 10)).astype(np.uint8)
    weight = Codes(symbols, 2, np.ones(1, np.float32))
    path = tmp_path / "table.tflite"
    path.write_bytes(embedding_file(weight, (5,), entropy_coded=False))
    command = [sys.executable, "-c", MEASURE, str(delegate_path()), str(path)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 4e6 < grown < 12e6
