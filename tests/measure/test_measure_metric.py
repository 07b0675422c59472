import numpy as np
import pytest

from tfcompress.errors import InvalidInputError
from tfcompress.measure import Metric, as_metric

PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3]])


@pytest.mark.parametrize("labels", [[0, 2, 0, 0], [[0], [2], [0], [0]], np.eye(3)[[0, 2, 0, 0]]])
def test_accuracy_of_classes_and_one_hot_rows(labels):
    metric = as_metric()
    assert (metric.name, metric.direction) == ("accuracy", "max")
    assert metric.value(np.array(labels), PROBABILITIES) == 0.75
    np.testing.assert_array_equal(metric.scores(np.array(labels), PROBABILITIES), [1, 1, 0, 1])


@pytest.mark.parametrize("outputs", [[[0.9], [0.2], [0.6], [0.4]], [[3.0], [-1.0], [0.2], [-0.1]]])
def test_accuracy_of_one_unit_as_probability_or_logit(outputs):
    assert as_metric().value(np.array([1, 0, 0, 0]), np.array(outputs)) == 0.75


def test_accuracy_per_position_is_averaged_within_a_sample():
    outputs = np.eye(3)[[[0, 1], [2, 2]]]
    np.testing.assert_array_equal(as_metric().scores(np.array([[0, 0], [2, 2]]), outputs), [0.5, 1.0])


def test_accuracy_refuses_what_is_no_classifier():
    with pytest.raises(InvalidInputError, match="labels must be classes"):
        as_metric().value(np.zeros((4, 5)), PROBABILITIES)
    with pytest.raises(InvalidInputError, match="one output to judge"):
        as_metric().value(np.zeros(4), [PROBABILITIES, PROBABILITIES])


@pytest.mark.parametrize(
    ("given", "direction", "value"),
    [("mean_squared_error", "min", 0.5), ("mae", "min", 0.5), ("MeanAbsoluteError", "min", 0.5)],
)
def test_keras_metrics_by_name(given, direction, value):
    metric = as_metric(given)
    assert metric.direction == direction
    assert metric.value(np.array([[0.0], [1.0]]), np.array([[1.0], [1.0]])) == pytest.approx(value)


def test_a_keras_metric_starts_anew_each_time():
    import keras

    metric = as_metric(keras.metrics.MeanSquaredError(name="mse"))
    for _ in range(2):
        assert metric.value(np.zeros((2, 1)), np.ones((2, 1))) == pytest.approx(1.0)
    with pytest.raises(InvalidInputError, match="one output to judge"):
        metric.value(np.zeros((2, 1)), [np.ones((2, 1)), np.ones((2, 1))])


def test_a_callable_sees_every_output_and_needs_a_direction():
    def gap(labels, outputs):
        return abs(outputs[0] - outputs[1]).max()

    with pytest.raises(InvalidInputError, match="must have a direction"):
        as_metric(gap)
    metric = as_metric(gap, "min")
    assert metric.name == "gap"
    assert metric.value(None, [np.array([1.0, 5.0]), np.array([1.0, 2.0])]) == 3.0


def test_drop_points_to_the_worse_side():
    larger, smaller = as_metric(), as_metric("mse")
    assert larger.drop(0.9, 0.8) == pytest.approx(0.1)
    assert smaller.drop(0.9, 0.8) == pytest.approx(-0.1)
    assert as_metric(larger) is larger
    assert isinstance(larger, Metric)


@pytest.mark.parametrize("wrong", ["no_such_metric", 3])
def test_what_is_no_metric(wrong):
    with pytest.raises(InvalidInputError, match="metric must be"):
        as_metric(wrong)


def test_what_is_no_direction():
    with pytest.raises(InvalidInputError, match="direction must be"):
        as_metric("mse", "up")
