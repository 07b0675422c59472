"""Pruning and clustering go through TFMOT, and the faster overrides equal what they replace."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from train_models import TECHNIQUES, compiled, data, recipe_of, small_mlp

from tfcompress.recipe import Codebook, ScheduleSpec, Sparsity
from tfcompress.train import apply
from tfcompress.train.techniques import tfmot
from tfcompress.train.techniques.schedules import last_update, rebuild_schedule, scheduled


def spy(monkeypatch, cls, method):
    calls = []
    original = getattr(cls, method)

    def observed(self, *args, **kwargs):
        calls.append(type(self).__name__)
        return original.__get__(self, cls)(*args, **kwargs)

    monkeypatch.setattr(cls, method, observed)
    return calls


def test_masks_come_from_tfmot_pruning_and_its_schedule(monkeypatch):
    parts = tfmot.parts()
    updates = spy(monkeypatch, parts.pruning_impl.Pruning, "conditional_mask_update")
    steps = spy(monkeypatch, parts.pruning_schedule.PolynomialDecay, "__call__")
    x, y = data()
    compiled(apply(small_mlp(), recipe_of(**TECHNIQUES["sparsity"]), total_steps=4)).fit(x, y, verbose=0)
    assert len(updates) >= 2 and len(steps) >= 2


@pytest.mark.parametrize(
    ("init", "name"),
    [
        ("linear", "LinearCentroidsInitialisation"),
        ("density", "DensityBasedCentroidsInitialisation"),
        ("random", "RandomCentroidsInitialisation"),
        ("kmeans++", "KmeansPlusPlusCentroidsInitialisation"),
    ],
)
def test_codebooks_come_from_tfmot_initialisers_and_algorithm(monkeypatch, init, name):
    parts = tfmot.parts()
    starts = spy(monkeypatch, parts.clustering_centroids.AbstractCentroidsInitialisation, "get_cluster_centroids")
    lookups = spy(monkeypatch, parts.clustering_algorithm.ClusteringAlgorithm, "add_gradient_to_original_weight")
    model = apply(small_mlp(), recipe_of(codebook=Codebook(num_centroids=6, init=init)))
    assert starts == [name, name]
    model(np.ones((2, 6), np.float32))
    assert set(lookups) == {"FastClustering"}
    values = [np.unique(transform.value()) for transform in model.transforms]
    assert all(1 < len(value) <= 6 for value in values)


@pytest.mark.parametrize("count", [2, 16, 100, 256])
def test_clustering_has_the_indices_values_and_gradients_of_tfmot(count):
    generator = np.random.default_rng(0)
    weight = tf.constant(generator.normal(size=(30, 40)).astype(np.float32))
    upstream = tf.constant(generator.normal(size=(30, 40)).astype(np.float32))
    centroids = tf.Variable(generator.normal(size=count).astype(np.float32))
    algorithm = tfmot.parts().clustering_algorithm.ClusteringAlgorithm(centroids)
    results = []
    for ours in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(weight)
            if ours:
                value = tfmot.clustered_weight(weight, tf.identity(centroids), centroids)
            else:
                value = algorithm.get_clustered_weight(algorithm.get_pulling_indices(weight), weight)
        gradients = tape.gradient(value, [weight, centroids], output_gradients=upstream)
        results.append([value, *(tf.convert_to_tensor(gradient) for gradient in gradients)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_exact_masks_equal_those_of_tfmot_where_there_are_no_ties():
    parts = tfmot.parts()
    schedule = parts.pruning_schedule.ConstantSparsity(0.75, 0, frequency=1)
    weight = tf.Variable(np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32))
    masks = [tf.Variable(tf.ones((20, 30), dtype)) for dtype in (tf.bool, tf.float32)]
    threshold, step = tf.Variable(0.0), tf.constant(0, tf.int64)
    tfmot.update_masks([(weight, masks[0], threshold, tf.abs)], step, Sparsity(target=0.75), schedule)
    parts.pruning_impl.Pruning(
        lambda: step, [(weight, masks[1], threshold)], schedule, (1, 1), "AVG"
    ).conditional_mask_update()
    ours, theirs = (mask.numpy() for mask in masks)
    assert np.array_equal(ours, theirs) and ours.sum() == 150


@pytest.mark.parametrize("total_steps", [2, 3, 5, 64, 150, 199, 1000, 5628])
@pytest.mark.parametrize("granularity", [{}, {"granularity": "n_of_m", "n_of_m": (1, 4)}])
def test_default_schedule_reaches_the_target_by_half_time(total_steps, granularity):
    sparsity = Sparsity(target=0.75, **granularity)
    spec = scheduled(sparsity, total_steps).schedule
    assert 1 <= spec.config["end_step"] <= max(1, total_steps // 2)
    assert last_update(spec, total_steps) == (spec.config["end_step"], pytest.approx(0.75))
    assert float(rebuild_schedule(spec)(tf.constant(0))[1]) == (0.75 if granularity else 0)


def test_without_total_steps_pruning_is_done_at_once():
    model = apply(small_mlp(), recipe_of(**TECHNIQUES["sparsity"]))
    assert [int(t.mask.numpy().sum()) for t in model.transforms] == [28, 19]


def test_a_schedule_object_of_tfmot_is_taken_as_it_is():
    schedule = tfmot.parts().pruning_schedule.PolynomialDecay(0.2, 0.7, begin_step=1, end_step=3, frequency=1)
    x, y = data()
    model = compiled(apply(small_mlp(), recipe_of(sparsity=Sparsity(target=0.7, schedule=schedule)), total_steps=4))
    assert isinstance(model.targets[0].sparsity.schedule, ScheduleSpec)
    zeros = [float((model.transforms[0].mask.numpy() == 0).mean())]
    for _ in range(4):
        model.train_on_batch(x, y)
        zeros.append(float((model.transforms[0].mask.numpy() == 0).mean()))
    assert zeros == pytest.approx([0, 0.2, 0.64, 0.7, 0.7], abs=0.02)


def test_a_registered_schedule_class_of_the_user_is_rebuilt():
    @keras.saving.register_keras_serializable(package="test")
    class Suddenly(tfmot.parts().pruning_schedule.PruningSchedule):
        def __init__(self, at):
            self.at = at

        def __call__(self, step):
            return tf.equal(step, self.at), tf.constant(0.5)

        def get_config(self):
            return {"class_name": "test>Suddenly", "config": {"at": self.at}}

    model = apply(small_mlp(), recipe_of(sparsity=Sparsity(target=0.5, schedule=Suddenly(2))), total_steps=4)
    assert type(model.transforms[0].pruner.schedule) is Suddenly


def test_importing_tfmot_leaves_the_users_keras_alone():
    tfmot.parts.cache_clear()
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    tfmot.parts()
    assert os.environ.get("TF_USE_LEGACY_KERAS") == before
