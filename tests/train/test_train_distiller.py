import keras
import numpy as np
import pytest
import tensorflow as tf
from train_models import TECHNIQUES, compiled, data, recipe_of, small_cnn, small_mlp

from tfcompress.errors import InvalidInputError
from tfcompress.train import Distiller, apply, finalize


def logits_of(probabilities):
    return np.log(probabilities)


def softmax(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def expected_loss(kind, teacher, student, temperature):
    if kind == "mse":
        centred = [values - values.mean(-1, keepdims=True) for values in (teacher, student)]
        return 0.5 * np.square(centred[0] - centred[1]).sum(-1)
    target, output = softmax(teacher / temperature), softmax(student / temperature)
    return temperature**2 * (target * (np.log(target) - np.log(output))).sum(-1)


@pytest.mark.parametrize("kind", ["kl", "mse"])
@pytest.mark.parametrize("activation", ["softmax", "linear"])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_is_the_formula_and_respects_sample_weights(kind, activation, weighted):
    x, y = data()
    student, teacher = small_mlp(activation), small_mlp(activation)
    weights = np.arange(len(x), dtype=np.float32) % 3 if weighted else None
    outputs = [model.predict(x, verbose=0) for model in (teacher, student)]
    logits = [logits_of(output) if activation == "softmax" else output for output in outputs]
    if activation == "linear" and kind == "mse":
        soft = 0.5 * np.square(logits[0] - logits[1]).sum(-1)
    else:
        soft = expected_loss(kind, *logits, 3.0)
    hard = keras.losses.SparseCategoricalCrossentropy(activation == "linear", reduction=None)(y, outputs[1]).numpy()
    scale = 1.0 if weights is None else weights
    expected = np.mean(scale * (0.3 * hard + 0.7 * soft))
    model = Distiller(student, teacher, temperature=3.0, alpha=0.7, loss=kind)
    model.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(activation == "linear"))
    history = model.fit(x, y, sample_weight=weights, batch_size=len(x), verbose=0)
    assert history.history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_teacher_is_frozen_and_runs_once_per_step_in_inference_mode():
    x, y = data((8, 8, 1), 5)
    student, teacher = small_cnn("student"), small_cnn("teacher")
    calls = tf.Variable(0, trainable=False)

    class Counting(keras.layers.Layer):
        def call(self, inputs, training=False):
            assert not training
            calls.assign_add(1)
            return inputs

    inputs = keras.Input((8, 8, 1))
    teacher = keras.Model(inputs, teacher(Counting()(inputs)))
    before = [value.numpy().copy() for value in teacher.variables]
    model = compiled(Distiller(student, teacher))
    calls.assign(0)
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    assert int(calls.numpy()) == 8
    assert all(np.array_equal(old, new) for old, new in zip(before, teacher.variables, strict=True))
    assert len(model.trainable_weights) == len(student.trainable_weights)
    calls.assign(0)
    model.evaluate(x, y, verbose=0)
    assert int(calls.numpy()) == 0


def test_student_learns_from_the_teacher_alone():
    x, _ = data(size=256)
    teacher = small_mlp()
    teacher.get_layer("out").kernel.assign(3 * teacher.get_layer("out").kernel)
    labels = teacher.predict(x, verbose=0).argmax(-1)
    model = Distiller(small_mlp(), teacher, alpha=1.0)
    model.compile(keras.optimizers.Adam(0.02), metrics=["accuracy"], loss="sparse_categorical_crossentropy")
    before = model.evaluate(x, labels, verbose=0)[1]
    model.fit(x, np.zeros_like(labels), epochs=15, verbose=0)
    after = model.evaluate(x, labels, verbose=0)[1]
    assert after > 0.85 and after > before + 0.2


def test_compressed_student_advances_finalizes_and_loads_back(tmp_path):
    x, y = data()
    student = apply(small_mlp(), recipe_of(**TECHNIQUES["sparsity"], **TECHNIQUES["ste"]), total_steps=8)
    model = compiled(Distiller(student, small_mlp()), metrics=["accuracy"])
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    assert int(student.step.numpy()) == 8
    predicted = model.predict(x, verbose=0)
    assert np.array_equal(predicted, student.predict(x, verbose=0))
    plain, promises = finalize(model)
    assert np.array_equal(plain.predict(x, verbose=0), predicted)
    assert [promise.sparsity for promise in promises] == [0.7, 0.7]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), predicted)
    loaded.fit(x, y, batch_size=16, verbose=0)
    assert int(loaded.student.step.numpy()) == 12


def test_losses_of_the_student_count_in_full():
    x, y = data()
    student = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, activation="softmax", kernel_regularizer=keras.regularizers.L2(1.0))]
    )
    teacher = keras.models.clone_model(student)
    teacher.set_weights(student.get_weights())
    model = Distiller(student, teacher, alpha=1.0)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    loss = model.fit(x, y, batch_size=64, verbose=0).history["loss"][0]
    assert loss == pytest.approx(float(np.square(student.layers[-1].kernel.numpy()).sum()), rel=1e-4)


def test_sigmoid_outputs_and_several_outputs():
    inputs = keras.Input((6,))

    def build():
        heads = {
            "a": keras.layers.Dense(1, activation="sigmoid", name="a")(inputs),
            "b": keras.layers.Dense(3, name="b")(inputs),
        }
        return keras.Model(inputs, heads)

    x, _ = data()
    model = Distiller(build(), build(), alpha=0.5)
    model.compile("adam", {"a": "binary_crossentropy", "b": "mse"})
    history = model.fit(x, {"a": np.ones((64, 1)), "b": np.ones((64, 3))}, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0}, "temperature must be above 0"),
        ({"alpha": 1.5}, "alpha must be 0 to 1"),
        ({"loss": "l1"}, "'kl' or 'mse'"),
        ({"teacher": keras.Sequential([keras.layers.Dense(3)])}, "teacher must be a built"),
        ({"teacher": small_mlp("linear")}, "same kind of output"),
        ({"teacher": small_cnn()}, "same shapes"),
    ],
)
def test_wrong_arguments_are_errors(change, message):
    arguments = {"student": small_mlp(), "teacher": small_mlp(), **change}
    with pytest.raises(InvalidInputError, match=message):
        Distiller(arguments.pop("student"), arguments.pop("teacher"), **arguments)


def test_kl_needs_more_than_one_class_and_two_models():
    model = small_mlp()
    with pytest.raises(InvalidInputError, match="two models"):
        Distiller(model, model)
    regressors = [keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]) for _ in range(2)]
    with pytest.raises(InvalidInputError, match="mse"):
        Distiller(*regressors)
    Distiller(*regressors, loss="mse")
