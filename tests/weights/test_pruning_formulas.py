import numpy as np
import pytest
import tensorflow as tf

from tfcompress.weights import (
    drop_and_grow,
    drop_fraction,
    expected_gate,
    group_lasso,
    l1_norm,
    open_probability,
    sampled_gate,
)


def numeric_gradient(function, at, step=1e-3):
    gradient = np.zeros_like(at)
    for index in np.ndindex(*at.shape):
        sides = []
        for sign in (1, -1):
            moved = at.copy()
            moved[index] += sign * step
            sides.append(float(function(tf.constant(moved))))
        gradient[index] = (sides[0] - sides[1]) / (2 * step)
    return gradient


def gradient_of(function, at):
    at = tf.constant(at)
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return tape.gradient(value, at).numpy()


def test_l1_draws_every_weight_with_the_same_force():
    weight = np.float32([[1.5, -0.25], [0.0, -3.0]])
    assert float(l1_norm(tf.constant(weight))) == 4.75
    assert gradient_of(l1_norm, weight).tolist() == [[1, -1], [0, -1]]


def test_group_lasso_is_the_norm_of_each_channel_by_the_root_of_its_size():
    weight = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    weight[..., 1] = 0
    penalty = lambda w: group_lasso(w, [0, 1])  # noqa: E731
    norms = np.linalg.norm(weight.reshape(6, 4), axis=0)
    assert float(penalty(tf.constant(weight))) == pytest.approx(np.sqrt(6) * norms.sum(), rel=1e-5)
    gradient = gradient_of(penalty, weight)
    expected = np.sqrt(6) * weight / np.where(norms > 0, norms, 1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    live = weight[..., [0, 2, 3]]
    np.testing.assert_allclose(gradient[..., [0, 2, 3]], numeric_gradient(penalty, live), rtol=1e-2, atol=1e-3)


def test_hard_concrete_gates_have_the_distribution_of_the_paper():
    log_alpha = np.float32([-3, -1, 0, 1, 3])
    uniform = tf.random.stateless_uniform((200_000, 5), (1, 2))
    gates = sampled_gate(tf.broadcast_to(tf.constant(log_alpha), uniform.shape), uniform).numpy()
    assert gates.min() == 0 and gates.max() == 1
    found = (gates > 0).mean(axis=0)
    np.testing.assert_allclose(open_probability(tf.constant(log_alpha)), found, atol=0.005)
    # P(z = 1) = 1 - Q((1 - gamma) / (zeta - gamma)), Q(s) = sigmoid(beta log(s / (1 - s)) - log alpha)
    one = 1 / (1 + np.exp(2 / 3 * np.log(1.1 / 0.1) - log_alpha))
    np.testing.assert_allclose((gates == 1).mean(axis=0), one, atol=0.005)


def test_the_gate_of_inference_closes_and_opens_at_log_eleven():
    edge = np.log(11)
    gate = expected_gate(tf.constant([-edge - 0.01, -edge + 0.01, 0.0, edge + 0.01], tf.float32)).numpy()
    assert gate[0] == 0 < gate[1] < 0.01 and gate[2] == pytest.approx(0.5) and gate[3] == 1


@pytest.mark.parametrize("uniform", [0.4, 0.5, 0.6])
def test_gates_pass_a_gradient_where_they_are_between(uniform):
    at = np.float32([-0.4, 0.1, 0.6])
    draws = tf.fill((3,), uniform)
    for function in (
        lambda a: tf.reduce_sum(sampled_gate(a, draws)),
        lambda a: tf.reduce_sum(expected_gate(a)),
        lambda a: tf.reduce_sum(open_probability(a)),
    ):
        found = gradient_of(function, at)
        np.testing.assert_allclose(found, numeric_gradient(function, at, 1e-2), rtol=1e-2, atol=1e-4)
        assert (found > 0).all()


def test_draws_at_the_ends_give_finite_gates_and_gradients():
    draws = tf.constant([0.0, 1.0])
    function = lambda a: tf.reduce_sum(sampled_gate(a, draws))  # noqa: E731
    assert np.isfinite(gradient_of(function, np.float32([0, 0]))).all()
    assert sampled_gate(tf.constant([0.0, 0.0]), draws).numpy().tolist() == [0, 1]


@pytest.mark.parametrize("size", [2, 3, 7, 31, 64, 257, 1001])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_drop_and_grow_keeps_the_count_drops_the_smallest_and_grows_the_steepest(size, share):
    generator = np.random.default_rng(size)
    weight, score = generator.normal(size=size).astype(np.float32), generator.random(size).astype(np.float32)
    mask = np.zeros(size, bool)
    mask[generator.permutation(size)[: max(1, size // 3)]] = True
    moved = drop_and_grow(*map(tf.constant, (weight, mask, score)), tf.constant(share, tf.float32)).numpy()
    kept = int(mask.sum())
    count = min(round(share * kept), kept - 1)
    assert moved.dtype == bool and moved.sum() == kept
    survivors = sorted(np.flatnonzero(mask), key=lambda i: -abs(weight[i]))[: kept - count]
    assert moved[survivors].all()
    others = np.setdiff1d(np.arange(size), survivors)
    grown = sorted(others, key=lambda i: -score[i])[:count]
    assert sorted(np.flatnonzero(moved)) == sorted([*survivors, *grown])


def test_zero_weights_and_zero_gradients_keep_the_count_too():
    mask = tf.constant([False, True, False, True, True])
    moved = drop_and_grow(tf.zeros(5), mask, tf.zeros(5), tf.constant(0.4))
    assert moved.numpy().tolist() == [1, 1, 0, 1, 0]


def test_the_share_falls_along_a_cosine():
    shares = [float(drop_fraction(tf.constant(step), 0.3, 100)) for step in (0, 25, 50, 100)]
    expected = [0.3, 0.15 * (1 + 2**-0.5), 0.15, 0.0]
    assert shares == pytest.approx(expected, abs=1e-7)
