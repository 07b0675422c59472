import numpy as np
import pytest
import tensorflow as tf

from tfcompress.weights import kept_count, magnitude_mask, nearest_centroid, refine_centroids


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("kind", ["normal", "zeros", "ties"])
@pytest.mark.parametrize("jit", [False, True])
def test_mask_keeps_the_largest_and_breaks_ties_by_index(size, kind, jit):
    generator = np.random.default_rng(0)
    weight = {
        "normal": generator.normal(size=size),
        "zeros": np.zeros(size),
        "ties": generator.integers(-2, 3, size),
    }[kind].astype(np.float32)
    compute = tf.function(magnitude_mask, jit_compile=jit)
    for kept in {1, size // 2 + 1, size}:
        threshold, mask = compute(tf.constant(weight), tf.constant(kept))
        order = np.argsort(-np.abs(weight), kind="stable")[:kept]
        expected = np.zeros(size, np.float32)
        expected[order] = 1
        assert np.array_equal(mask, expected)
        assert threshold == np.abs(weight)[order[-1]]


def test_kept_count_leaves_at_least_the_asked_fraction_of_zeros():
    for size in (1, 10, 72, 1000, 10240):
        for percent in range(1, 100):
            zeros = size - kept_count(size, percent / 100)
            assert zeros == min(-(-size * percent // 100), size - 1)


def test_nearest_centroid_equals_a_search_over_all_distances():
    generator = np.random.default_rng(0)
    weight = tf.constant(generator.normal(size=(40, 50)).astype(np.float32))
    for count in (2, 16, 100):
        centroids = tf.constant(generator.normal(size=count).astype(np.float32))
        expected = tf.argmin(tf.abs(weight[..., None] - centroids), axis=-1)
        assert np.array_equal(nearest_centroid(weight, centroids), expected)


def test_lloyd_moves_free_centroids_to_their_mean_and_holds_the_others():
    weight = tf.constant([-1.5, -3.0, 0.1, 4.0, 100.0])
    mask = tf.constant([1.0, 1.0, 1.0, 1.0, 0.0])
    moved = refine_centroids(weight, mask, tf.constant([-2.5, 0.0, 5.0, 60.0]), tf.constant([1.0, 0.0, 1.0, 1.0]))
    assert moved.numpy().tolist() == [-2.25, 0.0, 4.0, 60.0]
