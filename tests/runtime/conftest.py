"""A small float model as a .tflite, made once, and the two stock interpreters."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfcompress.runtime import delegate_path


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


def _litert():
    from ai_edge_litert import interpreter

    return interpreter.Interpreter, interpreter.load_delegate, interpreter.OpResolverType


def _tflite():
    import tensorflow as tf

    return tf.lite.Interpreter, tf.lite.experimental.load_delegate, tf.lite.experimental.OpResolverType


@pytest.fixture(params=[_litert, _tflite], ids=["litert", "tf.lite"])
def open_file(request: pytest.FixtureRequest) -> Callable:
    """A function from a file's bytes to an interpreter: with our delegate and `more`, or the stock one."""
    interpreter, load_delegate, resolvers = request.param()

    def opened(content: bytes, *more: Path, ours: bool = True, resolver: str = "AUTO"):
        paths = [delegate_path(), *more] if ours else []
        return interpreter(
            model_content=content,
            experimental_delegates=[load_delegate(str(path)) for path in paths],
            experimental_op_resolver_type=resolvers[resolver],
            num_threads=1,
        )

    return opened
