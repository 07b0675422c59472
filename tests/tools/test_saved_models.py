from pathlib import Path

import numpy as np
import pytest

SAVED_MODELS = Path(__file__).resolve().parent.parent.parent / "saved_models"


@pytest.fixture(scope="module")
def model():
    import keras

    return keras.saving.load_model(SAVED_MODELS / "digits_cnn.keras")


def test_golden_outputs(model):
    with np.load(SAVED_MODELS / "digits_cnn_golden.npz") as golden:
        logits = model.predict(golden["x"], verbose=0)
        np.testing.assert_allclose(logits, golden["logits"], rtol=1e-4, atol=1e-4 * np.abs(golden["logits"]).max())


def test_accuracy_on_the_stored_digits(model):
    with np.load(SAVED_MODELS / "digits.npz") as data, np.load(SAVED_MODELS / "digits_cnn_golden.npz") as golden:
        assert {key: data[key].dtype.name for key in data} == dict.fromkeys(data, "uint8")
        assert data["x_train"].max() == 16
        accuracy = np.mean(np.argmax(model.predict(data["x_test"], verbose=0), axis=1) == data["y_test"])
        assert accuracy >= 0.97
        assert accuracy == pytest.approx(golden["accuracy"], abs=0.003)


def test_the_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    with np.load(SAVED_MODELS / "digits.npz") as data:
        stored = np.concatenate([data["x_train"], data["x_test"]]).reshape(-1, 64)
        stored_labels = np.concatenate([data["y_train"], data["y_test"]])

    def rows(pixels, classes):
        return sorted(map(tuple, np.column_stack([pixels, classes]).astype(int).tolist()))

    assert rows(stored, stored_labels) == rows(images, labels)
