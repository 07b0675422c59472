"""What compression costs at a training step, at inference and in memory, against the plain model.

    tools/python tools/training_cost.py keras mlp prune

is one worker: a model under one technique, which runs what it is told on its standard input and answers with its CPU
and wall seconds. The rows of tools/bench_training start two of them and let them take turns, so that what else the
machine does meets both.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from bench import BenchmarkError, Run

__all__ = ["TECHNIQUES", "inference_ratio", "memory_copies", "step_ratio"]

# Processor seconds of a training step that a technique may cost, over the plain model's.
TECHNIQUES = {"prune": 1.15, "clusters_16": 1.3, "clusters_256": 2.2, "lsq_4": 1.25, "all": 1.7}
BY_TFMOT = {"prune", "clusters_16", "clusters_256", "int8"}
BATCH_SIZE = 128
STEPS = {"mlp": 40, "cnn": 20}  # of one turn: a second or two
INFERENCE_STEPS = 79  # a test set of 10,000 images
TURNS = 11
TRAINING = 4690  # updates of the training whose schedule is measured: ten epochs of 60,000 images
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}  # of glibc, in bytes
ROOT = Path(__file__).resolve().parent.parent


def step_ratio(technique: str, run: Run) -> float:
    """CPU seconds of a step of the MLP's `fit` over the plain model's; prints the CNN's and TFMOT's, too."""
    ratio = _told_ratio("keras", "mlp", technique, "fit", run)
    if not run.quick:
        _told_ratio("keras", "cnn", technique, "fit", run)
        theirs = "int8" if technique == "lsq_4" else technique
        if theirs in BY_TFMOT:
            for model in STEPS:
                _told_ratio("tf_keras", model, theirs, "fit", run)
    return ratio


def inference_ratio(work: str, run: Run) -> float:
    """CPU seconds of `evaluate` or `predict` under all techniques over the plain model's; the worse of two models."""
    return max(_told_ratio("keras", model, "all", work, run) for model in STEPS)


def memory_copies(run: Run) -> float:
    """Peak memory of training under all techniques at once beyond the plain model's, in float copies of the weights.

    The peak of a narrower MLP is taken away from both, since it is the price of imports and compilation. The C
    library gives back every tensor at once; otherwise what it keeps differs by several copies from run to run.
    """
    copies = {}
    for technique in TECHNIQUES:
        peaks = {
            (model, kind): _peak(model, kind, run) for model in ("wide", "narrow") for kind in ("plain", technique)
        }
        per_kind = {kind: peaks["wide", kind] - peaks["narrow", kind] for kind in ("plain", technique)}
        copy = 4 * (_weights("wide") - _weights("narrow"))
        copies[technique] = (per_kind[technique] - per_kind["plain"]) / copy
        fixed = (peaks["narrow", technique] - peaks["narrow", "plain"]) / 2**20
        print(f"memory of {technique}: {copies[technique]:.2f} copies of the weights and {fixed:.0f} MiB", flush=True)
    return max(copies.values())


def _told_ratio(library: str, model: str, technique: str, work: str, run: Run) -> float:
    """Median of the ratios of neighbouring turns."""
    pair = [_Worker(library, model, kind) for kind in ("plain", technique)]
    steps = STEPS[model] if work == "fit" else INFERENCE_STEPS
    turns, steps = (3, steps // 4) if run.quick else (TURNS, steps)
    try:
        for worker in pair:
            worker.ask(work, 2)
        seconds = [[worker.ask(work, steps) for worker in pair] for _ in range(turns)]
    finally:
        for worker in pair:
            worker.stop()
    ratios = sorted(one["cpu"] / plain["cpu"] for plain, one in seconds)
    wall = statistics.median(one["wall"] / plain["wall"] for plain, one in seconds)
    plain_ms = 1000 * statistics.median(plain["cpu"] for plain, _ in seconds) / steps
    ratio, low, high = statistics.median(ratios), ratios[turns // 4], ratios[-1 - turns // 4]
    whose = "ours" if library == "keras" else "TFMOT on tf_keras"
    print(
        f"{work} of {model} under {technique} ({whose}): CPU {ratio:.2f} "
        f"times plain (half within {low:.2f} to {high:.2f}), wall {wall:.2f} times; plain {plain_ms:.1f} ms a step",
        flush=True,
    )
    return ratio


class _Worker:
    """A process that holds one model."""

    def __init__(
        self, library: str, model: str, technique: str, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), library, model, technique]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **settings},
        )
        self._name = f"{technique} of {model} on {library}"

    def ask(self, work: str, steps: int) -> dict[str, float]:
        """CPU and wall seconds of the work, and the peak of the process' memory in bytes."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{work} {steps}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise BenchmarkError(f"the worker for {self._name} ended with exit code {self._process.wait()}")
        return json.loads(answer)

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _peak(model: str, technique: str, run: Run) -> float:
    worker = _Worker("keras", model, technique, GIVE_BACK)
    try:
        return worker.ask("fit", 3 if run.quick else 60)["peak"]
    finally:
        worker.stop()


WIDTHS = {"mlp": 1024, "wide": 3072, "narrow": 1024}


def _weights(model: str) -> int:
    width = WIDTHS[model]
    return 784 * width + width * width + 10 * width


def _model(model: str, keras: Any) -> Any:
    """784-1024-1024-10 with 1,861,632 weights, or three convolutions and a dense layer with 56,224."""
    layers = keras.layers
    if model != "cnn":
        dense = [layers.Dense(WIDTHS[model], activation="relu") for _ in range(2)]
        return keras.Sequential([keras.Input((784,)), *dense, layers.Dense(10)])
    stack = [keras.Input((28, 28, 1))]
    for filters, strides in ((32, 2), (64, 2), (64, 1)):
        stack += [layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)]
        stack += [layers.BatchNormalization(), layers.ReLU()]
    return keras.Sequential([*stack, layers.GlobalAveragePooling2D(), layers.Dense(10)])


def _wrapped(model: Any, technique: str) -> Any:
    import tfcompress as tfc

    asked = {
        "prune": {"sparsity": tfc.Sparsity(target=0.8)},
        "clusters_16": {"codebook": tfc.Codebook(num_centroids=16)},
        "clusters_256": {"codebook": tfc.Codebook(num_centroids=256)},
        "lsq_4": {"quantization": tfc.Quantization(num_bits=4, estimator="lsq")},
    }
    asked["all"] = asked["prune"] | asked["clusters_16"] | asked["lsq_4"]
    recipe = tfc.Recipe(rules=(tfc.Rule(layers="*", **asked[technique]),))
    return tfc.apply(model, recipe, total_steps=TRAINING)


def _wrapped_by_tfmot(model: Any, technique: str) -> tuple[Any, list[Any]]:
    import tensorflow_model_optimization as tfmot

    if technique == "prune":
        schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.8, 0, TRAINING // 2, frequency=TRAINING // 100)
        pruned = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)
        return pruned, [tfmot.sparsity.keras.UpdatePruningStep()]
    if technique == "int8":
        return tfmot.quantization.keras.quantize_model(model), []
    clustering = tfmot.clustering.keras
    init = clustering.CentroidInitialization.KMEANS_PLUS_PLUS
    count = int(technique.split("_")[1])
    return clustering.cluster_weights(model, number_of_clusters=count, cluster_centroids_init=init), []


def _worker(library: str, kind: str, technique: str) -> None:
    """Builds the model and does what standard input says."""
    from tfcompress.heap import keep_freed_memory

    if not GIVE_BACK.keys() & os.environ.keys():
        keep_freed_memory()
    if library == "keras":
        import keras
    else:
        import tf_keras as keras
    keras.utils.set_random_seed(0)
    model, callbacks = _model(kind, keras), []
    if technique != "plain":
        wrap = _wrapped_by_tfmot if library == "tf_keras" else lambda *arguments: (_wrapped(*arguments), [])
        model, callbacks = wrap(model, technique)
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    generator = np.random.default_rng(0)
    shape = (28, 28, 1) if kind == "cnn" else (784,)
    for line in sys.stdin:
        work, steps = line.split()[0], int(line.split()[1])
        x = generator.normal(size=(steps * BATCH_SIZE, *shape)).astype(np.float32)
        y = generator.integers(0, 10, len(x))
        cpu, wall = time.process_time(), time.perf_counter()
        if work == "fit":
            model.fit(x, y, batch_size=BATCH_SIZE, verbose=0, callbacks=callbacks)
        elif work == "evaluate":
            model.evaluate(x, y, batch_size=BATCH_SIZE, verbose=0)
        else:
            model.predict(x, batch_size=BATCH_SIZE, verbose=0)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"cpu": cpu, "wall": wall, "peak": peak}), flush=True)


if __name__ == "__main__":
    _worker(*sys.argv[1:])
