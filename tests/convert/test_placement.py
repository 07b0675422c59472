"""The choice of each op between our kernel and decoded weights for stock ops."""

import functools

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from delegate_files import SAME, FileBuilder
from grid_models import run

from tfcompress.convert import expand, inspect, pack, predicted_speedup
from tfcompress.convert.graph import constant, load, op_name, save
from tfcompress.convert.placement.rule import COSTS, FEW_ROWS

OPTIONS, OPS = schema.BuiltinOptions, schema.BuiltinOperator


def net(*layers, bits=4) -> bytes:
    """A chain of convolutions given as (size, kernel, ins, outs), with weights on a grid."""
    rng = np.random.default_rng(0)
    file = FileBuilder()
    most = 2 ** (bits - 1) - 1 if bits > 1 else 1
    x = file.tensor((1, layers[0][0], layers[0][0], layers[0][2]))
    file.graph.inputs = [x]
    for size, kernel, ins, outs in layers:
        codes = rng.integers(-most, most + 1, (outs, kernel, kernel, ins))
        codes = np.where(codes < 0, -1, 1) if bits == 1 else codes
        y = file.tensor((1, size, size, outs))
        bias = file.tensor((outs,), rng.normal(size=outs).astype(np.float32))
        weight = file.tensor(codes.shape, (codes * np.float32(0.03)).astype(np.float32))
        operator = file.operator(OPS.CONV_2D, [x, weight, bias], [y])
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = SAME, 1, 1
        operator.builtinOptionsType, operator.builtinOptions = OPTIONS.Conv2DOptions, options
        x = y
    file.graph.outputs = [x]
    return save(load(file.finish()))


def names(content: bytes) -> list[str]:
    model = load(content)
    return [op_name(model, operator) for operator in model.subgraphs[0].operators]


TWO = ((8, 1, 64, 64), (8, 3, 64, 32))


def test_an_op_runs_where_it_is_faster():
    seen = []

    def speedup(candidate):
        seen.append((candidate.name, candidate.x_shape, candidate.y_shape, candidate.weight.symbols.shape))
        return 0.9 if candidate.weight.symbols.shape[1] == 1 else 1.1

    source = net(*TWO)
    packed = pack(source, speedup=speedup)
    assert names(packed) == ["TfcDecode", "CONV_2D", "TfcConv2D"]
    assert seen == [
        ("TfcConv2D", (1, 8, 8, 64), (1, 8, 8, 64), (64, 1, 1, 64)),
        ("TfcConv2D", (1, 8, 8, 64), (1, 8, 8, 32), (32, 3, 3, 64)),
    ]
    assert names(pack(source, speedup=speedup, allow_slower=0.1)).count("TfcDecode") == 1  # 0.99
    assert names(pack(source, speedup=speedup, allow_slower=0.12)) == ["TfcConv2D", "TfcConv2D"]


def test_what_was_measured_is_in_the_file_and_shown():
    source = net(*TWO)
    tuned = pack(source, speedup=lambda each: 0.5 if each.weight.symbols.shape[1] == 1 else 3.14159)
    rows = {row.shape: (row.runs, row.speedup) for row in inspect(tuned) if row.coder is not None}
    assert rows == {(64, 1, 1, 64): ("decoded", 0.5), (32, 3, 3, 64): ("kernel", 3.14)}
    assert {row.speedup for row in inspect(pack(source))} == {None}
    assert {row.runs for row in inspect(source)} == {""}
    assert load(expand(tuned)).metadata is None
    assert expand(tuned) == expand(pack(source))


def test_a_damaged_record_is_none():
    model = load(pack(net(*TWO), speedup=lambda _: 2.0))
    (entry,) = model.metadata
    for text in (b"{", b"[1]", b'{"00000000": "x"}'):
        model.buffers[entry.buffer].data = np.frombuffer(text, np.uint8)
        assert {row.speedup for row in inspect(save(load(save(model))))} == {None}


def test_an_op_alone_computes_the_same():
    source = net(*TWO)
    model = load(source)
    alone = []
    pack(source, speedup=lambda each: alone.append(each.alone()) or 1.0)
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 64)).astype(np.float32)
    (first,) = run(alone[0], x)
    (second,) = run(alone[1], first)
    np.testing.assert_allclose(second, run(source, x)[0], rtol=0, atol=1e-5 * np.abs(second).max())
    held = [constant(load(each), tensor) for each in alone for tensor in load(each).subgraphs[0].tensors]
    assert sum(value is not None for value in held) == 4  # weight and bias of both
    assert len(model.subgraphs[0].operators) == 2


def test_the_rule_decodes_few_channels_of_many_pixels_and_no_others():
    """On the machine that it was measured on: 112 x 112, 32 to 16 channels ran at 0.87 of XNNPACK's speed."""
    chosen = names(pack(net((112, 1, 32, 8), (112, 3, 8, 8), (112, 1, 8, 64))))
    assert chosen[:2] == ["TfcDecode", "CONV_2D"]
    assert names(pack(net((14, 3, 256, 256)))) == ["TfcConv2D"]
    assert names(pack(net((7, 1, 960, 160), bits=2))) == ["TfcConv2D"]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_predictions_grow_with_the_products_per_value(bits):
    told = []
    layers = ((14, 1, 16, 16), (14, 1, 64, 64), (14, 1, 256, 256))
    for layer in layers:
        pack(net(layer, bits=bits), speedup=lambda each: told.append(predicted_speedup(each)) or 1.0)
    assert told == sorted(told) and told[-1] > 1.1


def test_bits_are_for_few_rows():
    told = []
    for layer in ((1, 1, 512, 512), (FEW_ROWS, 1, 8192, 16), (FEW_ROWS, 1, 16, 16)):
        pack(net(layer, bits=1), speedup=lambda each: told.append(predicted_speedup(each)) or 1.0)
    assert told[0] > 1 > told[1]
    assert told[2] == 1  # slower, too, but by less than is worth a decoded weight
    assert all(len(costs) == 6 and min(costs) >= 0 for costs in COSTS.values())


def test_equal_ops_get_the_same_answer_from_pack():
    """Packing is deterministic, so the rule must be."""
    make = functools.partial(net, *TWO)
    assert pack(make()) == pack(make()) == pack(expand(pack(make())))
