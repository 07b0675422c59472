import numpy as np
import pytest
import tensorflow as tf

from tfcompress.weights import (
    lsq_quantize,
    lsq_scale,
    max_code,
    quantize_codes,
    refine_scale,
    search_scale,
    ste_quantize,
)


def weights(shape=(30, 8), seed=0):
    return tf.constant(np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32))


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_quantized_weight_is_exactly_scale_times_integer_code(num_bits):
    weight = weights()
    scale = search_scale(weight, num_bits, [0])
    codes = quantize_codes(weight, scale, num_bits).numpy()
    assert np.array_equal(codes, np.round(codes)) and np.abs(codes).max() <= max_code(num_bits)
    expected = scale.numpy() * codes.astype(np.float32)
    for quantize in (ste_quantize, lsq_quantize):
        assert np.array_equal(quantize(weight, scale, num_bits).numpy(), expected)


def test_zero_is_a_level_and_codes_are_symmetric():
    weight = tf.constant([[-9.0, -1.0, 0.0, 1.0, 9.0]])
    codes = quantize_codes(weight, tf.constant([[1.0]]), 3).numpy()
    assert codes.tolist() == [[-3, -1, 0, 1, 3]]


def test_ste_passes_the_gradient_unchanged_even_where_it_clips():
    weight, upstream = tf.constant([[0.2, 5.0, -0.4]]), tf.constant([[1.0, 2.0, 3.0]])
    with tf.GradientTape() as tape:
        tape.watch(weight)
        value = ste_quantize(weight, tf.constant([[0.1]]), 4)
    assert np.array_equal(tape.gradient(value, weight, output_gradients=upstream), upstream)


def test_lsq_gradients_follow_the_paper():
    weight, scale = weights(), tf.fill([1, 8], 0.05)
    upstream = weights(seed=1)
    with tf.GradientTape() as tape:
        tape.watch([weight, scale])
        value = lsq_quantize(weight, scale, 3)
    d_weight, d_scale = tape.gradient(value, [weight, scale], output_gradients=upstream)
    ratio, q = weight.numpy() / scale.numpy(), max_code(3)
    inside = np.abs(ratio) <= q
    assert 0 < inside.mean() < 1
    slope = np.where(inside, np.round(ratio) - ratio, np.sign(ratio) * q)
    expected = (upstream.numpy() * slope).sum(0, keepdims=True) / np.sqrt(30 * q)
    np.testing.assert_allclose(d_scale, expected, rtol=1e-4, atol=1e-6)
    assert np.array_equal(d_weight, np.where(inside, upstream, 0))


def test_learned_scale_starts_at_its_origin_and_stays_positive():
    origin = tf.constant([[0.01, 2.0]])
    assert np.array_equal(lsq_scale(origin, tf.zeros((1, 2))), origin)
    assert (lsq_scale(origin, tf.fill((1, 2), -30.0)).numpy() > 0).all()


@pytest.mark.parametrize("num_bits", [2, 3, 4, 8])
def test_searched_scale_beats_the_largest_weight_as_guide(num_bits):
    weight = weights((500, 4))
    searched = search_scale(weight, num_bits, [0])
    largest = tf.reduce_max(tf.abs(weight), axis=0, keepdims=True) / max_code(num_bits)

    def error(scale):
        return np.square(weight - scale * quantize_codes(weight, scale, num_bits)).sum(0)

    assert (error(searched) <= error(largest) + 1e-9).all()
    if num_bits < 8:
        assert error(searched).sum() < 0.95 * error(largest).sum()


def test_refining_never_raises_the_error_and_keeps_the_scale_of_zeros():
    weight = weights((200, 4)) * tf.constant([[1.0, 1.0, 1.0, 0.0]])
    scale = tf.fill([1, 4], 0.03)
    for _ in range(5):
        refined = refine_scale(weight, scale, 4, [0])
        errors = [np.square(weight - s * quantize_codes(weight, s, 4)).sum(0) for s in (scale, refined)]
        assert (errors[1] <= errors[0] + 1e-9).all()
        scale = refined
    assert scale[0, 3] == np.float32(0.03)
    assert search_scale(tf.zeros((3, 2)), 4, [0]).numpy().tolist() == [[1, 1]]
