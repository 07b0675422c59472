"""The rules of the wrapper: what the inner model does must not change because its weights are compressed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from train_models import TECHNIQUES, bits, compiled, data, recipe_of, small_cnn, small_mlp

from tfcompress.errors import InvalidInputError
from tfcompress.recipe import Sparsity
from tfcompress.train import advance, apply, finalize, frozen_schedules

layers = keras.layers
EIGHT_BITS = {"quantization": bits(8)}


def fitted(model, x, y, loss="mse", epochs=1, **kwargs):
    model.compile(keras.optimizers.Adam(0.01), loss, **kwargs)
    model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, shuffle=False)
    return model


@keras.saving.register_keras_serializable(package="test")
class DropoutCell(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.dense = layers.Dense(units)
        self.dropout = layers.Dropout(0.5, seed=1)

    def build(self, input_shape):
        self.dense.build((input_shape[0], input_shape[-1] + self.units))
        self.built = True

    def call(self, inputs, states, training=False):
        output = self.dropout(self.dense(tf.concat([inputs, states[0]], -1)), training=training)
        return output, [output]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_dropout_inside_a_custom_rnn_cell_trains():
    model = keras.Sequential([keras.Input((5, 3)), layers.RNN(DropoutCell(4), name="rnn")])
    model = apply(model, recipe_of("rnn", **EIGHT_BITS))
    seed = [v for v in model.variables if "seed" in v.path][0].numpy().copy()
    fitted(model, np.ones((16, 5, 3)), np.zeros((16, 4)))
    assert not np.array_equal(seed, [v for v in model.variables if "seed" in v.path][0].numpy())


@pytest.mark.parametrize("layer", [layers.GRU(4), layers.Bidirectional(layers.LSTM(3))])
def test_recurrent_kernels_are_compressed(layer):
    x = np.random.default_rng(0).normal(size=(16, 5, 3)).astype(np.float32)
    model = keras.Sequential([keras.Input((5, 3)), layer, layers.Dense(1)])
    model = fitted(apply(model, recipe_of(**TECHNIQUES["ste"])), x, np.zeros((16, 1)))
    plain, promises = finalize(model)
    assert sum("recurrent_kernel" in promise.variable for promise in promises) >= 1
    np.testing.assert_array_equal(plain.predict(x, verbose=0), model.predict(x, verbose=0))


def test_stateful_lstm_keeps_its_state_in_predict():
    inputs = keras.Input(batch_shape=(4, 5, 3))
    model = keras.Model(inputs, layers.LSTM(4, stateful=True, name="lstm")(inputs))
    model = apply(model, recipe_of(**EIGHT_BITS))
    plain = finalize(model).model
    x = np.ones((4, 5, 3), np.float32)
    first, second = model.predict(x, verbose=0), model.predict(x, verbose=0)
    assert not np.allclose(first, second)
    for expected in (first, second):
        np.testing.assert_allclose(plain.predict(x, verbose=0), expected, atol=1e-6)


@keras.saving.register_keras_serializable(package="test")
class PaidDense(layers.Dense):
    def call(self, inputs):
        self.add_loss(tf.constant(3.0))
        return super().call(inputs)


def test_losses_of_the_inner_layers_survive_and_count_once():
    def losses(model):
        model(np.ones((2, 4), np.float32), training=True)
        return sorted(float(loss) for loss in model.losses)

    plain = keras.Sequential(
        [
            keras.Input((4,)),
            PaidDense(3, activity_regularizer="l2", kernel_regularizer=keras.regularizers.L2(0.5), name="a"),
        ]
    )
    wrapped = apply(plain, recipe_of(quantization=bits(8)))
    assert len(losses(plain)) == 3
    np.testing.assert_allclose(losses(wrapped), losses(plain), rtol=0.02)
    wrapped.compile("adam", "mse")
    x, y = np.ones((8, 4)), np.zeros((8, 3))
    assert wrapped.evaluate(x, y, verbose=0) > 3


def test_spectral_normalization_keeps_updating():
    model = keras.Sequential([keras.Input((6,)), layers.SpectralNormalization(layers.Dense(5, name="d"), name="sn")])
    model.layers[0].kernel.assign(10 * np.eye(6, 5))
    model = apply(model, recipe_of(**EIGHT_BITS))
    layer = model.inner.layers[0]
    before = layer.vector_u.numpy().copy()
    model(np.ones((2, 6), np.float32), training=True)
    assert not np.array_equal(before, layer.vector_u.numpy())
    for _ in range(20):
        model(np.ones((2, 6), np.float32), training=True)
    assert np.linalg.norm(layer.kernel.numpy(), 2) < 1.2


def test_batch_norm_statistics_move_once_per_step():
    x, _ = data((8, 8, 1), 5)
    plain = small_cnn()
    wrapped = apply(plain, recipe_of(quantization=bits(8)))
    for model in (plain, wrapped):
        model(x, training=True)
    expected = plain.get_layer("norm").moving_mean.numpy()
    np.testing.assert_allclose(wrapped.inner.get_layer("norm").moving_mean.numpy(), expected, atol=1e-3)
    assert np.abs(expected).max() > 0


def test_shared_layers_and_repeated_forwards_count_one_step():
    shared = layers.Dense(3, name="shared")
    inputs = keras.Input((3,))
    model = apply(keras.Model(inputs, shared(shared(shared(inputs)))), recipe_of(**TECHNIQUES["sparsity"]))
    assert len(model.targets) == 1
    for _ in range(5):
        model(np.ones((2, 3), np.float32), training=True)
    assert int(model.step.numpy()) == 0
    fitted(model, np.ones((16, 3)), np.zeros((16, 3)))
    assert int(model.step.numpy()) == 2


def test_gradient_accumulation_counts_updates_not_batches():
    x, y = data()
    model = apply(small_mlp(), recipe_of(**TECHNIQUES["sparsity"]), total_steps=4)
    optimizer = keras.optimizers.Adam(gradient_accumulation_steps=4)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=4, verbose=0)
    assert int(model.step.numpy()) == 4


def test_custom_loop_advances_by_hand_and_frozen_schedules_do_not():
    x, y = data()
    model = apply(small_mlp(), recipe_of(**TECHNIQUES["sparsity"]), total_steps=4)
    optimizer = keras.optimizers.SGD(0.1)
    loss_of = keras.losses.SparseCategoricalCrossentropy()

    def step():
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        advance(model)

    for _ in range(3):
        step()
    with frozen_schedules(model):
        step()
    assert int(model.step.numpy()) == 3
    assert finalize(model).promises[0].zeros >= 0.7 * 6 * 16


def test_jit_compile_and_steps_per_execution():
    x, y = data()
    model = apply(small_mlp(), recipe_of(**TECHNIQUES["sparsity"], **TECHNIQUES["lsq"]), total_steps=8)
    compiled(model, jit_compile=True, steps_per_execution=2)
    model.fit(x, y, batch_size=8, verbose=0)
    assert int(model.step.numpy()) == 8
    before = model.predict(x, verbose=0)
    np.testing.assert_allclose(finalize(model).model.predict(x, verbose=0), before, atol=1e-6)


def test_mixed_precision_computes_compressed_weights_in_float32():
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_mlp()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    x, y = data()
    model = compiled(apply(model, recipe_of(sparsity=Sparsity(target=0.5), **TECHNIQUES["ste"]), total_steps=4))
    assert model.compute_dtype == "bfloat16"
    model.fit(x, y, batch_size=8, verbose=0)
    assert model(x).dtype == tf.bfloat16
    plain, promises = finalize(model)
    kernel = plain.get_layer("hidden").kernel.numpy()
    assert not np.array_equal(kernel, tf.cast(tf.cast(kernel, tf.bfloat16), tf.float32))
    assert [promise.zeros >= promise.sparsity * 4 for promise in promises] == [True, True]


def test_attention_embedding_and_nested_models_are_compressed():
    tokens = keras.Input((5,), dtype="int32")
    hidden = layers.Embedding(11, 8, name="embed")(tokens)
    hidden = layers.MultiHeadAttention(2, 4, name="mha")(hidden, hidden)
    block = keras.Sequential([keras.Input((5, 8)), layers.Dense(6, name="inner")], name="block")
    model = keras.Model(tokens, layers.GlobalAveragePooling1D()(block(hidden)))
    x = np.random.default_rng(0).integers(0, 11, (16, 5))
    model = fitted(apply(model, recipe_of(**TECHNIQUES["ste"])), x, np.zeros((16, 6)))
    plain, promises = finalize(model)
    names = {promise.variable: promise.shape for promise in promises}
    assert names["embed/embeddings"] == (11, 8)
    assert names["block/inner/kernel"] == (6, 8)
    assert names["mha/query/kernel"] == (2, 4, 8)
    assert names["mha/attention_output/kernel"] == (8, 2, 4)
    np.testing.assert_allclose(plain.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


@keras.saving.register_keras_serializable(package="test")
class Subclassed(keras.Model):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first, self.second = layers.Dense(units), layers.Dense(2)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((shape[0], self.units))
        self.built = True

    def call(self, x, training=False):
        return self.second(tf.nn.relu(self.first(x)))

    def get_config(self):
        return {"units": self.units, "name": self.name}


def test_subclassed_model_with_generated_names_loads_back(tmp_path):
    model = Subclassed(7)
    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    model(x)
    model = fitted(apply(model, recipe_of(**TECHNIQUES["sparsity"], **TECHNIQUES["ste"])), x, np.zeros((16, 2)))
    before = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), before)
    assert loaded.targets == model.targets


def test_apply_leaves_the_given_model_alone():
    x, y = data()
    model = small_mlp()
    before = [weight.numpy().copy() for weight in model.weights]
    compiled(apply(model, recipe_of(**TECHNIQUES["ste"]))).fit(x, y, verbose=0)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.weights, strict=True))


def test_single_layer_and_masks_pass_through():
    lstm = layers.LSTM(3, return_sequences=True, name="lstm")
    lstm.build((None, 4, 2))
    wrapped = apply(lstm, recipe_of("lstm_cell", quantization=bits(8)))
    x = np.ones((2, 4, 2), np.float32)
    x[:, 2:] = 0
    mask = tf.constant([[True, True, False, False]] * 2)
    np.testing.assert_allclose(wrapped(x, mask=mask), lstm(x, mask=mask), atol=0.05)
    assert wrapped.supports_masking


def test_keras_own_quantization_of_a_compressed_model_is_refused():
    model = apply(small_mlp(), recipe_of(**TECHNIQUES["ste"]))
    with pytest.raises(InvalidInputError, match="finalize"):
        model.quantize("int8")
    with pytest.raises(InvalidInputError, match="enable_lora"):
        model.enable_lora(2)


@keras.saving.register_keras_serializable(package="test")
class CutDense(layers.Dense):
    def call(self, inputs):
        return tf.stop_gradient(super().call(inputs))


def test_a_weight_without_gradient_is_reported_in_the_first_step():
    model = keras.Sequential([keras.Input((4,)), CutDense(3, name="cut"), layers.Dense(2, name="fine")])
    model = apply(model, recipe_of(**TECHNIQUES["ste"]))
    model.compile("sgd", "mse")
    with pytest.raises(InvalidInputError, match="cut/kernel"), pytest.warns(UserWarning):
        model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)


def test_targets_stay_when_trainable_changes_later():
    x, y = data()
    model = apply(small_mlp(), recipe_of(**TECHNIQUES["ste"]))
    model.inner.get_layer("hidden").trainable = False
    shadow = model.inner.get_layer("hidden").kernel.numpy().copy()
    compiled(model).fit(x, y, verbose=0)
    assert np.array_equal(shadow, model.inner.get_layer("hidden").kernel.numpy())
    assert [p.num_bits for p in finalize(model).promises] == [4, 4]
