import json

import numpy as np

from tfcompress.convert import inspect


def test_a_payload_is_described(mlp):
    rows = {row.shape: row for row in inspect(mlp.packed)}
    row = rows[(64, 40)]
    weight = mlp.model.layers[0].kernel.numpy()
    assert (row.op, row.encoding, row.bits, row.levels) == ("TfcFullyConnected", "uniform", 3, 7)
    assert row.sparsity == np.mean(weight == 0)
    assert row.bits_per_weight == 8 * row.bytes / weight.size
    assert 0 < row.entropy < 2.81
    assert row.ram_bytes == weight.size // 2 + 4 * 64
    json.dumps([row.to_json() for row in rows.values()])


def test_a_decoded_constant_costs_float_memory(cnn):
    row = next(row for row in inspect(cnn.packed) if row.shape == (1, 3, 3, 16))
    assert row.op == "TfcDecode" and row.ram_bytes == 4 * 9 * 16


def test_shared_constants_are_listed_once_and_float_files_too(cnn):
    rows = [row for row in inspect(cnn.packed) if row.shape == (12, 12)]
    assert [row.op for row in rows] == ["TfcFullyConnected"]
    floats = [row for row in inspect(cnn.float_file) if row.shape == (12, 12)]
    assert [(row.encoding, row.bits, row.bytes) for row in floats] == [("float32", 32, 576)]
