"""One MLP, pruned and clustered by TFMOT alone: what the comparison and the format's benchmark both start from.

    tools/python tools/tfmot_mlp.py MNIST.npz FOLDER [--quick]

writes pruned.tflite and clustered.tflite. The model is 784-300-100-10 with 266,610 parameters, trained on tf_keras;
each result is stripped and converted as TFMOT's guide says.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster as sparse_cluster

from tfcompress.heap import keep_freed_memory

BATCH_SIZE = 128
Data = dict[str, np.ndarray]
Model = tf_keras.Model


def load(path: Path, quick: bool) -> Data:
    """Images as float32 in 0..1; a tenth of the training images when `quick`."""
    with np.load(path) as archive:
        data = {key: archive[key] for key in ("x_train", "y_train", "x_test", "y_test")}
    if quick:
        data["x_train"], data["y_train"] = data["x_train"][::10], data["y_train"][::10]
    for key in ("x_train", "x_test"):
        data[key] = data[key].reshape(len(data[key]), 784).astype(np.float32) / 255
    return data


def mlp() -> Model:
    """LeNet-300-100; fixed names, since they are bytes of the file too."""
    return tf_keras.Sequential(
        [
            tf_keras.Input((784,)),
            tf_keras.layers.Dense(300, activation="relu", name="dense"),
            tf_keras.layers.Dense(100, activation="relu", name="dense_1"),
            tf_keras.layers.Dense(10, name="dense_2"),
        ],
        name="sequential",
    )


def fit(model: Model, data: Data, epochs: int, rate: float, callbacks: tuple = ()) -> Model:
    """Adam on the logits."""
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(rate), loss)
    model.fit(
        data["x_train"], data["y_train"], batch_size=BATCH_SIZE, epochs=epochs, verbose=0, callbacks=list(callbacks)
    )
    return model


def copy(model: tf_keras.Model) -> Model:
    """TFMOT changes the layers that it wraps, so it gets its own."""
    twin = mlp()
    twin.set_weights(model.get_weights())
    return twin


def pruned(model: Model, data: Data, epochs: int) -> Model:
    """90 % zeros by TFMOT's magnitude pruning."""
    steps = epochs * -(-len(data["x_train"]) // BATCH_SIZE)
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.9, 0, steps // 2, frequency=max(1, steps // 40))
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(copy(model), pruning_schedule=schedule)
    fit(wrapped, data, epochs, 1e-3, (tfmot.sparsity.keras.UpdatePruningStep(),))
    return tfmot.sparsity.keras.strip_pruning(wrapped)


def clustered(model: Model, data: Data, epochs: int, preserve_sparsity: bool) -> Model:
    """16 values per weight by TFMOT's clustering."""
    options = {
        "number_of_clusters": 16,
        "cluster_centroids_init": tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
    }
    if preserve_sparsity:
        wrapped = sparse_cluster.cluster_weights(copy(model), preserve_sparsity=True, **options)
    else:
        wrapped = tfmot.clustering.keras.cluster_weights(copy(model), **options)
    return tfmot.clustering.keras.strip_clustering(fit(wrapped, data, epochs, 1e-4))


def to_tflite(model: tf_keras.Model) -> bytes:
    """The file of TFMOT's guide: the plain converter."""
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def trained(data: Data, epochs: int) -> Model:
    """The MLP before anything is done to it; the same for the same data."""
    tf_keras.utils.set_random_seed(0)
    return fit(mlp(), data, epochs, 1e-3)


def main() -> None:
    """Trains and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="MNIST as npz: x_train, y_train, x_test, y_test")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of the images and two epochs")
    arguments = parser.parse_args()
    keep_freed_memory()
    data, epochs = load(arguments.data, arguments.quick), 2 if arguments.quick else 8
    model = trained(data, epochs)
    results = {
        "pruned": pruned(model, data, epochs),
        "clustered": clustered(model, data, max(1, epochs // 4), preserve_sparsity=False),
    }
    for name, result in results.items():
        (arguments.folder / f"{name}.tflite").write_bytes(to_tflite(result))


if __name__ == "__main__":
    main()
