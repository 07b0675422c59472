import numpy as np
import pytest

from tfcompress.errors import InvalidInputError
from tfcompress.measure import Predictor, leaves


def test_leaves_go_by_position_and_by_sorted_key():
    tree = {"b": [1, 2], "a": (3, {"z": 4})}
    assert [int(leaf) for leaf in leaves(tree)] == [3, 4, 1, 2]


def test_batches_of_any_size(classifier):
    predictor = Predictor(classifier)
    random = np.random.default_rng(0)
    for size in (1, 5, 5, 2):
        x = random.random((size, 3), dtype=np.float32)
        np.testing.assert_allclose(predictor(x), x, atol=1e-6)


def test_integers_are_fed_as_the_file_s_floats(classifier):
    np.testing.assert_array_equal(Predictor(classifier)(np.array([[1, 2, 3]], np.uint8)), [[1.0, 2.0, 3.0]])


def test_inputs_and_outputs_go_by_name(two_inputs):
    predictor = Predictor(two_inputs)
    assert predictor.output_names == ("first", "second")
    a, b = np.array([[1.0, 2.0]], np.float32), np.array([[3.0, 5.0]], np.float32)
    first, second = predictor({"zed": a, "abc": b})
    np.testing.assert_array_equal(first, a - b)
    np.testing.assert_array_equal(second, 10 * a + b)


@pytest.mark.parametrize("x", [np.zeros((1, 2)), {"zed": np.zeros((1, 2)), "other": np.zeros((1, 2))}])
def test_inputs_that_the_file_does_not_have(two_inputs, x):
    with pytest.raises(InvalidInputError, match="inputs must be abc, zed"):
        Predictor(two_inputs)(x)


def test_a_shape_that_does_not_fit(classifier):
    with pytest.raises(InvalidInputError, match=r"must have shape \(batch, 3\).*\(2, 4\)"):
        Predictor(classifier)(np.zeros((2, 4)))


def test_over_joins_batches_and_keeps_the_labels_structure(classifier):
    batches = [(np.eye(3)[:2], {"y": np.array([0, 1])}), (np.eye(3)[2:], {"y": np.array([2])})]
    labels, outputs = Predictor(classifier).over(batches)
    np.testing.assert_array_equal(labels["y"], [0, 1, 2])
    np.testing.assert_array_equal(outputs, np.eye(3))
    with pytest.raises(InvalidInputError, match="at least one batch"):
        Predictor(classifier).over([])
