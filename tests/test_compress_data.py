"""What users give as data, and what is found wrong with it before training."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcompress.checks import check_inputs, check_labels, check_metric, choose_loss
from tfcompress.data import as_data, file_pairs, in_model_structure
from tfcompress.errors import InvalidInputError
from tfcompress.measure import as_metric

X, Y = np.arange(30, dtype=np.float32).reshape(10, 3), np.arange(10) % 3


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]


def classifier(units=3, activation="softmax"):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(units, activation=activation)])


FORMS = {
    "mapping": lambda: ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}, None),
    "pairs": lambda: (((X, Y), (X, Y)), None),
    "arrays": lambda: ((X, Y), (X, Y)),
    "weights": lambda: ((X, Y, np.ones(10)), (X, Y)),
    "tf.data": lambda: (tf.data.Dataset.from_tensor_slices((X, Y)).batch(2),) * 2,
    "filtered tf.data": lambda: (tf.data.Dataset.from_tensor_slices((X, Y)).filter(lambda x, y: True).batch(2),) * 2,
    "PyDataset": lambda: (Batches(), Batches()),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_batches_again_and_again(form):
    data = as_data(*FORMS[form](), batch_size=2)
    for samples in (data.train, data.test):
        assert samples.steps == 5
        for _ in range(2):
            batches = list(samples.pairs())
            np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), X)
            np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), Y)


def test_dict_inputs_and_many_outputs_are_cut_alike():
    x, y = {"a": X, "b": X + 1}, [Y, Y + 1]
    batches = list(as_data((x, y), (x, y), batch_size=4).train.start())
    assert [len(batch[0]["b"]) for batch in batches] == [4, 4, 2]
    np.testing.assert_array_equal(batches[1][1][1], Y[4:8] + 1)


WRONG = {
    "no test data": (lambda: ((X, Y), None), "must come with test data"),
    "a key less": (lambda: ({"x_train": X, "y_train": Y, "x_test": X}, None), "without y_test"),
    "lengths": (lambda: ((X, Y[:9]), (X, Y)), "same number of samples.*9, 10"),
    "empty": (lambda: ((X[:0], Y[:0]), (X, Y)), "at least one"),
    "infinite": (lambda: (tf.data.Dataset.from_tensor_slices((X, Y)).repeat(), (X, Y)), "must be finite"),
    "no labels": (lambda: (tf.data.Dataset.from_tensor_slices(X).batch(2), (X, Y)), r"must yield \(x, y\)"),
    "a generator": (lambda: ((n for n in range(3)), (X, Y)), "must be .* arrays, a tf.data.Dataset"),
}


@pytest.mark.parametrize("case", WRONG)
def test_forms_that_are_refused(case):
    make, message = WRONG[case]
    with pytest.raises(InvalidInputError, match=message):
        as_data(*make(), batch_size=2).train.first()


def with_nan(x):
    x = x.copy()
    x[7, 1] = np.nan
    return x


MISFITS = {
    "NaN": (with_nan(X), Y, r"x_test must be finite numbers\. Received: NaN or infinity in batch 3"),
    "infinite label": (X, np.where(Y == 1, np.inf, Y), "y_test must be finite"),
    "shape": (X[:, :2], Y, r"x_test must have shape \(samples, 3\).*Received: shape=\(samples, 2\)"),
    "rank": (X[:, :, None], Y, r"x_test must have shape \(samples, 3\)"),
    "text": (X.astype(str), Y, "must be numbers"),
    "two inputs": ([X, X], Y, "must have 1 inputs"),
    "names": ({"z": X}, Y, "must have the model's inputs: x"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_samples_that_do_not_fit_the_model(case):
    x, y, message = MISFITS[case]
    with pytest.raises(InvalidInputError, match=message):
        check_inputs(classifier(), as_data((X, Y), (x, y), batch_size=2).test)


def test_samples_that_fit():
    check_inputs(classifier(), as_data(((X, Y), (X, Y)), None, batch_size=2).test)


@pytest.mark.parametrize(
    ("units", "activation", "labels", "name", "from_logits"),
    [
        (3, "softmax", Y, "sparse_categorical_crossentropy", False),
        (3, None, Y, "sparse_categorical_crossentropy", True),
        (3, None, Y.astype(np.float32), "sparse_categorical_crossentropy", True),
        (3, "softmax", np.eye(3)[Y], "categorical_crossentropy", False),
        (1, "sigmoid", Y % 2, "binary_crossentropy", False),
        (1, None, Y % 2, "binary_crossentropy", True),
    ],
)
def test_the_loss_fits_labels_and_outputs(units, activation, labels, name, from_logits):
    loss = choose_loss(classifier(units, activation), as_data((X, labels), (X, labels), 10))
    assert loss.name == name
    assert loss.get_config()["from_logits"] is from_logits


def test_the_given_loss_wins_over_the_compiled_over_the_fitting():
    model, data = classifier(), as_data((X, Y), (X, Y), 10)
    model.compile(loss="kl_divergence")
    assert choose_loss(model, data) == "kl_divergence"
    assert choose_loss(model, data, "mse") == "mse"


def test_a_loss_that_cannot_be_told():
    data = as_data((X, X[:, :2] + 0.5), (X, X[:, :2]), 10)
    with pytest.raises(InvalidInputError, match=r"a loss must be given.*--loss"):
        choose_loss(classifier(2, None), data)


@pytest.mark.parametrize(("labels", "seen"), [(Y + 1, "from 0 to 3"), (Y - 1, "from -1 to 1"), (Y + 0.5, "from 0.5")])
def test_labels_that_are_no_class(labels, seen):
    samples = as_data((X, Y), (X, labels if seen != "from 0 to 3" else np.append(0, labels[:9])), 4).test
    with pytest.raises(InvalidInputError, match=f"whole numbers from 0 to 2.*{re.escape(seen)}"):
        check_labels(classifier(), samples, "sparse_categorical_crossentropy")


def test_labels_are_no_classes_for_another_loss():
    check_labels(classifier(), as_data((X, Y), (X, Y + 0.5), 4).test, "mse")


def test_a_metric_that_does_not_fit():
    samples = as_data((X, Y), (X, Y), 10).test

    def broken(labels, outputs):
        return labels @ outputs[:, :2, None]

    with pytest.raises(InvalidInputError, match="must take the labels.*broken"):
        check_metric(classifier(), samples, as_metric(broken, "max"))
    with pytest.raises(InvalidInputError, match="finite number"):
        check_metric(classifier(), samples, as_metric(lambda y, p: np.nan, "max"))
    check_metric(classifier(), samples, as_metric())


def test_a_file_gets_list_inputs_by_name_and_a_metric_the_model_s_structure():
    a, b = keras.Input((3,), name="zed"), keras.Input((3,), name="abc")
    model = keras.Model([a, b], {"s": keras.layers.Add()([a, b]), "d": keras.layers.Subtract()([a, b])})
    samples = as_data(([X, X + 1], Y), ([X, X + 1], Y), 10).test
    ((x, _),) = file_pairs(model, samples)
    np.testing.assert_array_equal(x["zed"], X)
    np.testing.assert_array_equal(x["abc"], X + 1)
    metric = in_model_structure(model, as_metric(lambda labels, outputs: outputs["s"] - outputs["d"], "max"))
    assert metric.value(None, [np.array(1.0), np.array(5.0)]) == 4.0
