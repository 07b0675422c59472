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


def assert_same_outputs(converted, shape):
    for batch in (1, 3):
        x = np.random.default_rng(batch).normal(size=(batch, *shape)).astype(np.float32)
        (before,), (after,) = run(converted.float_file, x), run(expand(converted.packed), x)
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_flatten_needs_no_shape_arithmetic_and_gives_the_same_outputs():
    keras.utils.set_random_seed(4)
    reshaped = layers.Reshape((8, 2, 8))
    model = keras.Sequential([layers.Input((4, 4, 8)), reshaped, layers.Conv2D(16, 1), layers.Flatten()])
    converted = Converted.of(model)
    arithmetic = {BUILTIN.SHAPE, BUILTIN.STRIDED_SLICE, BUILTIN.PACK}
    assert arithmetic <= set(builtins(converted.float_file))
    assert builtins(converted.packed) == [BUILTIN.RESHAPE, BUILTIN.CUSTOM, BUILTIN.RESHAPE]
    packed = load(converted.packed)
    graph = packed.subgraphs[0]
    shapes = [constant(packed, graph.tensors[graph.operators[index].inputs[1]]).tolist() for index in (0, 2)]
    assert shapes == [[-1, 8, 2, 8], [-1, 256]]
    assert_same_outputs(converted, (4, 4, 8))


def test_before_a_dense_layer_a_flatten_goes_altogether():
    keras.utils.set_random_seed(4)
    model = keras.Sequential([layers.Input((4, 4, 8)), layers.Flatten(), layers.Dense(16), layers.Dense(8)])
    converted = Converted.of(model)
    assert builtins(converted.packed) == [BUILTIN.CUSTOM, BUILTIN.CUSTOM]
    assert builtins(expand(converted.packed)) == [BUILTIN.FULLY_CONNECTED] * 2
    assert_same_outputs(converted, (4, 4, 8))


def test_a_flatten_that_something_else_reads_too_stays():
    keras.utils.set_random_seed(4)
    source = layers.Input((4, 4, 8))
    flat = layers.Flatten()(source)
    converted = Converted.of(keras.Model(source, layers.Concatenate()([flat, layers.Dense(16)(flat)])))
    assert builtins(converted.packed).count(BUILTIN.RESHAPE) == 1
    assert_same_outputs(converted, (4, 4, 8))


def test_a_dense_layer_that_keeps_its_rank_keeps_its_reshape():
    keras.utils.set_random_seed(4)
    model = keras.Sequential([layers.Input((4, 16)), layers.Reshape((8, 8)), layers.Dense(16)])
    converted = Converted.of(model)
    assert BUILTIN.RESHAPE in builtins(converted.packed)
    assert_same_outputs(converted, (4, 16))


def test_a_shape_with_two_unknown_sizes_stays_computed():
    keras.utils.set_random_seed(5)
    model = keras.Sequential([layers.Input((4, 4, 8)), layers.Conv2D(8, 1), layers.Flatten()])
    graph = load(Converted.of(model).float_file)
    subgraph = graph.subgraphs[0]
    codes = [graph.operatorCodes[op.opcodeIndex].builtinCode for op in subgraph.operators]
    pack = subgraph.operators[codes.index(BUILTIN.PACK)]
    pack.inputs = np.array([pack.inputs[0], pack.inputs[0]], np.int32)
    make_reshapes_static(graph, subgraph)
    kept = [graph.operatorCodes[op.opcodeIndex].builtinCode for op in subgraph.operators]
    assert kept == codes
