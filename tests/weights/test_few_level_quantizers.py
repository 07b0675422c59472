import numpy as np
import pytest
import tensorflow as tf

from tfcompress.weights import (
    binary_quantize,
    max_exponent,
    nearest_value,
    power_of_two_quantize,
    power_of_two_scale,
    ternary_codes,
    ternary_quantize,
    trained_ternary_quantize,
)


def weights(shape=(40, 6), seed=0):
    return tf.constant(np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32))


def gradients(function, *arguments, seed=1):
    value = function(*arguments)
    upstream = weights(value.shape, seed)
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(*arguments)
    return upstream.numpy(), [
        gradient.numpy() for gradient in tape.gradient(value, arguments, output_gradients=upstream)
    ]


def test_binary_scale_has_the_least_squared_error():
    weight, mask = weights(), tf.ones([40, 6])
    value = binary_quantize(weight, mask, [0]).numpy()
    assert np.array_equal(np.sign(value), np.where(weight.numpy() >= 0, 1, -1))
    scale = np.abs(value[0])
    assert np.array_equal(np.abs(value), np.broadcast_to(scale, value.shape))
    error = [np.sum((weight - np.sign(value) * scale * factor) ** 2) for factor in (0.98, 1.0, 1.02)]
    assert error[1] < min(error[0], error[2])


@pytest.mark.parametrize("quantize", [binary_quantize, ternary_quantize])
def test_what_a_mask_prunes_is_zero_and_does_not_count(quantize):
    weight = weights()
    mask = tf.constant((np.arange(240).reshape(40, 6) % 3 > 0).astype(np.float32))
    value = quantize(weight * mask, mask, [0]).numpy()
    assert (value[mask.numpy() == 0] == 0).all()
    kept = tf.boolean_mask(weight[:, 0], mask[:, 0] > 0)[:, None]
    alone = quantize(kept, tf.ones_like(kept), [0]).numpy()
    np.testing.assert_allclose(np.unique(value[:, 0][mask.numpy()[:, 0] > 0]), np.unique(alone), rtol=1e-6)


def test_ternary_follows_the_paper():
    weight = weights((200, 1))
    value = ternary_quantize(weight, tf.ones([200, 1]), [0]).numpy()
    array = weight.numpy()
    above = np.abs(array) > 0.7 * np.mean(np.abs(array))
    assert np.array_equal(value != 0, above)
    np.testing.assert_allclose(np.abs(value[above]), np.mean(np.abs(array[above])), rtol=1e-6)
    assert np.array_equal(np.sign(value[above]), np.sign(array[above]))


@pytest.mark.parametrize(
    "quantize",
    [
        lambda w: binary_quantize(w, tf.ones_like(w), [0]),
        lambda w: ternary_quantize(w, tf.ones_like(w), [0]),
        lambda w: power_of_two_quantize(w, tf.constant(0.01), 4),
        lambda w: nearest_value(w, (-0.1, 0.0, 0.3)),
    ],
)
def test_gradients_pass_straight_through(quantize):
    upstream, (gradient,) = gradients(quantize, weights())
    assert np.array_equal(gradient, upstream)


def test_trained_ternary_learns_both_magnitudes():
    weight, ones = weights(), tf.ones([40, 6])
    positive, negative = tf.fill([1, 1], 0.3), tf.fill([1, 1], 0.2)
    quantize = lambda w, p, n: trained_ternary_quantize(w, p, n, ones, [0, 1])  # noqa: E731
    codes = ternary_codes(weight, ones, [0, 1]).numpy()
    expected = np.select([codes > 0, codes < 0], [np.float32(0.3), np.float32(-0.2)], np.float32(0))
    assert np.array_equal(quantize(weight, positive, negative).numpy(), expected)
    upstream, (d_weight, d_positive, d_negative) = gradients(quantize, weight, positive, negative)
    assert np.array_equal(d_weight, upstream)
    np.testing.assert_allclose(d_positive, upstream[codes > 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(d_negative, -upstream[codes < 0].mean(), rtol=1e-5)


@pytest.mark.parametrize("num_bits", [3, 4, 5, 6])
def test_power_of_two_takes_the_nearest_level(num_bits):
    weight = weights((500, 2))
    scale = power_of_two_scale(weight, num_bits, [0]).numpy()
    assert np.array_equal(np.log2(scale), np.round(np.log2(scale)))
    powers = 2.0 ** np.arange(max_exponent(num_bits) + 1)
    levels = np.concatenate([-powers[::-1], [0], powers]) * scale[0, 0]
    value = power_of_two_quantize(weight, tf.constant(scale), num_bits).numpy()[:, 0]
    distance = np.abs(weight.numpy()[:, :1] - levels)
    assert np.isin(value, levels.astype(np.float32)).all()
    np.testing.assert_allclose(np.abs(weight.numpy()[:, 0] - value), distance.min(axis=1), atol=1e-7)
    # The largest level is the power of two next to the largest weight.
    assert 3 / 4 <= np.abs(weight.numpy()[:, 0]).max() / levels[-1] <= 3 / 2


def test_power_of_two_of_zeros_and_of_tiny_weights_is_finite():
    for weight in (tf.zeros([4, 1]), tf.fill([4, 1], 1e-38)):
        scale = power_of_two_scale(weight, 6, [0])
        assert np.isfinite(power_of_two_quantize(weight, scale, 6).numpy()).all() and (scale.numpy() > 0).all()


def test_nearest_value_is_the_argmin():
    weight, values = weights(), (0.11, -0.02, 0.07, -0.3)
    candidates = np.array(values, np.float32)
    expected = candidates[np.abs(weight.numpy()[..., None] - candidates).argmin(axis=-1)]
    assert np.array_equal(nearest_value(weight, values).numpy(), expected)
