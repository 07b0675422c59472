"""A file with two inputs and two outputs, and a classifier, made once."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = x over three classes: the largest input is the class."""
    import keras
    import numpy as np
    import tensorflow as tf

    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(3)])
    model.layers[0].set_weights([np.eye(3), np.zeros(3)])
    path = tmp_path_factory.mktemp("measure") / "classifier.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


@pytest.fixture(scope="session")
def two_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs a - b and 10 a + b of inputs 'zed' = a and 'abc' = b; the names sort the other way round."""
    import tensorflow as tf

    spec = {"zed": tf.TensorSpec([None, 2], name="zed"), "abc": tf.TensorSpec([None, 2], name="abc")}

    @tf.function(input_signature=[spec["zed"], spec["abc"]])
    def serve(zed, abc):
        return {"second": 10 * zed + abc, "first": zed - abc}

    module = tf.Module()
    module.serve = serve
    folder = tmp_path_factory.mktemp("two")
    tf.saved_model.save(module, str(folder / "model"), signatures={"serving_default": serve})
    path = folder / "two.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder / "model")).convert())
    return path
