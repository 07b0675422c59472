"""Models that all tests of the room share, converted once."""

import keras
import pytest
from grid_models import Converted
from keras import layers


@pytest.fixture(scope="session")
def cnn():
    """Every reader of a weight: conv, depthwise, separable, tanh conv, transposed conv, dense; two outputs."""
    keras.utils.set_random_seed(1)
    image = x = layers.Input((12, 12, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(24, 3, strides=2, name="separable")(x)
    x = layers.Conv2D(20, 1, activation="tanh", name="tanh")(x)
    x = layers.Conv2DTranspose(12, 3, strides=2, name="transposed")(x)
    x = layers.GlobalAveragePooling2D()(x)
    shared = layers.Dense(12, activation="relu", use_bias=False, name="shared")
    x = shared(shared(x))
    outputs = [layers.Dense(20, activation="softmax", name="first")(x), layers.Dense(30, name="second")(x)]
    return Converted.of(keras.Model(image, outputs, name="cnn"))


@pytest.fixture(scope="session")
def mlp():
    """Two dense layers; three bits."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential([layers.Input((40,)), layers.Dense(64, activation="relu"), layers.Dense(30)], name="mlp")
    return Converted.of(model, num_bits=3)


@pytest.fixture(scope="session")
def gru():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [layers.Input((5,), dtype="int32"), layers.Embedding(40, 16), layers.GRU(24), layers.Dense(20)], name="gru"
    )
    return Converted.of(model)
