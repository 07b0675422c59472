"""A small float model as a .tflite, made once."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def float_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conv, ReLU, Dense over 8x8x1 images, seeded."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    path = tmp_path_factory.mktemp("runtime") / "float.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


@pytest.fixture
def image() -> np.ndarray:
    """One random image."""
    return np.random.default_rng(0).random((1, 8, 8, 1), dtype=np.float32)
