import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from grid_models import run

from tfcompress.convert import audit, expand, inspect, pack
from tfcompress.convert.graph import add_constant, add_tensor, constant, load, save
from tfcompress.errors import InvalidInputError, TfcompressError


def test_saving_changes_nothing_that_runs_and_is_deterministic(cnn):
    saved = save(load(cnn.float_file))
    assert saved == save(load(cnn.float_file)) == save(load(saved))
    x = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype(np.float32)
    for before, after in zip(run(cnn.float_file, x), run(saved, x), strict=True):
        np.testing.assert_array_equal(before, after)


def test_names_of_inputs_outputs_and_signatures_are_kept(cnn):
    def names(content):
        interpreter = Interpreter(model_content=content)
        details = interpreter.get_input_details() + interpreter.get_output_details()
        return interpreter.get_signature_list(), [detail["name"] for detail in details]

    assert names(expand(cnn.packed)) == names(cnn.float_file)
    assert names(cnn.float_file)[0]["serving_default"]["inputs"] == ["image"]


def test_unused_tensors_and_buffers_are_dropped(mlp):
    model = load(mlp.float_file)
    clean = save(load(mlp.float_file))
    add_tensor(model.subgraphs[0], [100], schema.TensorType.UINT8, add_constant(model, bytes(range(100))))
    assert save(model) == clean
    assert load(clean).buffers[0].data is None


def test_constants_are_aligned_and_equal_buffers_stay_shared(mlp):
    model = load(mlp.float_file)
    operator = model.subgraphs[0].operators[0]
    weight = model.subgraphs[0].tensors[operator.inputs[1]]
    assert save(load(mlp.float_file)).index(constant(model, weight).tobytes()) % 16 == 0
    twin = add_tensor(model.subgraphs[0], weight.shape, weight.type, weight.buffer)
    operator.inputs = [*operator.inputs, twin]
    again = load(save(model)).subgraphs[0]
    one, other = (again.tensors[again.operators[0].inputs[position]] for position in (1, 3))
    assert one is not other and one.buffer == other.buffer


@pytest.mark.parametrize("content", [b"", b"TFL3", bytes(1000), b"PK\x03\x04" + bytes(1000), b"\x1c\0\0\0TFL3" * 100])
@pytest.mark.parametrize("function", [pack, expand, inspect, audit])
def test_what_is_no_tflite_is_one_clear_error(function, content):
    with pytest.raises(InvalidInputError, match=r"must be an? .*\.tflite file"):
        function(content)


def test_a_shortened_file_is_one_clear_error(mlp):
    for size in range(8, len(mlp.packed), 53):
        with pytest.raises(InvalidInputError):
            pack(mlp.packed[:size])


@pytest.mark.filterwarnings("error")
def test_a_damaged_file_never_ends_in_a_foreign_error(mlp):
    rng = np.random.default_rng(0)
    refused = 0
    for content in [mlp.packed, save(load(mlp.float_file))]:
        for _ in range(30):
            damaged = bytearray(content)
            for at in rng.integers(0, len(content), 2):
                damaged[at] = rng.integers(0, 256)
            for function in (pack, expand, lambda each: audit(each, mlp.promises)):
                try:
                    function(bytes(damaged))
                except TfcompressError:
                    refused += 1
    assert refused > 20
