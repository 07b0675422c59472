"""A packed file through the delegate, against its expansion under the stock interpreter."""

import numpy as np
import pytest
from grid_models import run

from tfcompress.convert import expand
from tfcompress.errors import NativeLibraryError
from tfcompress.runtime import Interpreter, delegate_path


@pytest.fixture(autouse=True)
def library():
    try:
        delegate_path()
    except NativeLibraryError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("arithmetic", "tolerance"), [("float", 1e-5), ("", 0.03)])
@pytest.mark.parametrize("name", ["cnn", "mlp", "gru"])
def test_outputs_equal_the_expanded_file(name, arithmetic, tolerance, request, monkeypatch):
    converted = request.getfixturevalue(name)
    monkeypatch.setenv("TFC_ACT", arithmetic)
    rng = np.random.default_rng(0)
    source = converted.model.inputs[0]
    shape = (1 if name == "gru" else 6, *source.shape[1:])
    x = rng.integers(0, 40, shape).astype(np.int32) if source.dtype == "int32" else rng.normal(size=shape)
    x = x.astype(source.dtype)
    interpreter = Interpreter(model_content=converted.packed, num_threads=1)
    (detail,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
    for output, expected in zip(outputs, run(expand(converted.packed), x), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=tolerance * np.abs(expected).max())
