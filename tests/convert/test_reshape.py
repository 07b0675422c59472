import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from grid_models import Converted, run
from keras import layers

from tfcompress.convert import expand
from tfcompress.convert.graph import constant, load
from tfcompress.convert.reshape import make_reshapes_static

BUILTIN = schema.BuiltinOperator


def builtins(content):
    model = load(content)
    return [model.operatorCodes[op.opcodeIndex].builtinCode for op in model.subgraphs[0].operators]


def test_flatten_needs_no_shape_arithmetic_and_gives_the_same_outputs():
    keras.utils.set_random_seed(4)
    model = keras.Sequential([layers.Input((4, 4, 8)), layers.Flatten(), layers.Dense(16)])
    converted = Converted.of(model)
    assert {BUILTIN.SHAPE, BUILTIN.STRIDED_SLICE, BUILTIN.PACK} <= set(builtins(converted.float_file))
    assert builtins(converted.packed) == [BUILTIN.RESHAPE, BUILTIN.CUSTOM]
    reshape = load(converted.packed)
    tensor = reshape.subgraphs[0].tensors[reshape.subgraphs[0].operators[0].inputs[1]]
    assert constant(reshape, tensor).tolist() == [-1, 128]
    for batch in (1, 3):
        x = np.random.default_rng(batch).normal(size=(batch, 4, 4, 8)).astype(np.float32)
        (before,), (after,) = run(converted.float_file, x), run(expand(converted.packed), x)
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_shape_with_two_unknown_sizes_stays_computed():
    keras.utils.set_random_seed(5)
    model = keras.Sequential([layers.Input((4, 4, 8)), layers.Flatten(), layers.Dense(16)])
    graph = load(Converted.of(model).float_file)
    subgraph = graph.subgraphs[0]
    codes = [graph.operatorCodes[op.opcodeIndex].builtinCode for op in subgraph.operators]
    pack = subgraph.operators[codes.index(BUILTIN.PACK)]
    pack.inputs = np.array([pack.inputs[0], pack.inputs[0]], np.int32)
    make_reshapes_static(graph, subgraph)
    assert [graph.operatorCodes[op.opcodeIndex].builtinCode for op in subgraph.operators] == codes
