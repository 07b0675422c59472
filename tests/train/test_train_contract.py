"""Every technique and every pair: apply, train, finalize, and the promise holds."""

import itertools

import keras
import numpy as np
import pytest
from train_models import TECHNIQUES, compiled, data, recipe_of, small_cnn

from tfcompress.errors import BrokenPromiseError
from tfcompress.recipe import Codebook, Promise, Quantization, Recipe, Rule, Sparsity, mask_hash
from tfcompress.train import Compressed, apply, finalize

PAIRS = [
    (first, second) for first, second in itertools.combinations(TECHNIQUES, 2) if (first, second) != ("ste", "lsq")
]
CASES = [(name,) for name in TECHNIQUES] + PAIRS + [("sparsity", "codebook", "ste")]


def techniques(names):
    merged = {}
    for name in names:
        merged |= TECHNIQUES[name]
    if "codebook" in merged and "quantization" in merged:
        merged["codebook"] = Codebook(num_centroids=7)
    return merged


@pytest.mark.parametrize("names", CASES, ids="+".join)
def test_promise_holds_after_training_and_survives_saving(names, tmp_path):
    asked = techniques(names)
    x, y = data((8, 8, 1), 5)
    model = compiled(apply(small_cnn(), recipe_of(**asked), total_steps=8))
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    before = model.predict(x, verbose=0)
    plain, promises = finalize(model)
    assert not any(isinstance(layer, Compressed) for layer in plain._flatten_layers())
    assert np.array_equal(plain.predict(x, verbose=0), before)
    assert [promise.variable for promise in promises] == ["conv1/kernel", "depthwise/kernel", "dense/kernel"]
    for promise in promises:
        name = promise.layer
        weight = plain.get_layer(name).kernel.numpy()
        check_promise(promise, weight, asked, (2, 3) if name == "depthwise" else (weight.ndim - 1,))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), before)
    assert finalize(loaded).promises == promises
    assert int(loaded.step.numpy()) == 8
    loaded.fit(x, y, batch_size=16, verbose=0)
    assert int(loaded.step.numpy()) == 12
    assert len(finalize(loaded).promises) == 3


def check_promise(promise, weight, asked, channel_axes):
    assert promise.zeros == np.count_nonzero(weight == 0)
    assert promise.mask_hash == mask_hash(weight, channel_axes)
    assert Promise.model_validate_json(promise.model_dump_json()) == promise
    if "sparsity" in asked:
        assert promise.zeros >= asked["sparsity"].target * weight.size
        if len(asked) == 1:
            assert promise.zeros == np.ceil(asked["sparsity"].target * weight.size)
    if "codebook" in asked:
        assert len(np.unique(weight)) <= asked["codebook"].num_centroids
    if "quantization" in asked:
        check_codes(weight, asked, channel_axes)


def check_codes(weight, asked, channel_axes):
    """Every value is float32(scale * integer) for some scale per channel (or per tensor)."""
    largest = 2 ** (asked["quantization"].num_bits - 1) - 1
    per_tensor = "codebook" in asked
    rows = [weight.ravel()]
    if not per_tensor:
        rest = [axis for axis in range(weight.ndim) if axis not in channel_axes]
        count = int(np.prod([weight.shape[axis] for axis in channel_axes]))
        rows = np.transpose(weight, (*channel_axes, *rest)).reshape(count, -1)
    for row in rows:
        levels = np.unique(np.abs(row[row != 0]))
        if levels.size == 0:
            continue
        fits = []
        for code in range(1, largest + 1):
            scale = levels[0] / code
            codes = np.round(levels / scale)
            fits.append(codes[-1] <= largest and np.allclose(codes * scale, levels, rtol=1e-6, atol=0))
        assert any(fits), levels


def test_phases_in_sequence_keep_every_earlier_promise():
    x, y = data((8, 8, 1), 5)
    pruned = compiled(apply(small_cnn(), recipe_of(sparsity=Sparsity(target=0.5)), total_steps=4))
    pruned.fit(x, y, batch_size=16, verbose=0)
    zeros = {p.variable: p.mask_hash for p in finalize(pruned).promises}
    for following in ({"codebook": Codebook(num_centroids=6)}, {"quantization": Quantization(num_bits=4)}):
        pruned = compiled(apply(pruned, recipe_of(**following), total_steps=4))
        pruned.fit(x, y, batch_size=16, verbose=0)
    plain, promises = finalize(pruned)
    for promise in promises:
        weight = plain.get_layer(promise.layer).kernel.numpy()
        assert (promise.sparsity, promise.num_centroids, promise.num_bits) == (0.5, 6, 4)
        assert np.count_nonzero(weight == 0) >= weight.size / 2 and len(np.unique(weight)) <= 6
    states = {t.target.variable: t for t in pruned.transforms}
    for variable, before in zeros.items():
        transform = states[variable]
        assert mask_hash(transform.mask.numpy(), transform.target.channel_axes) == before


def test_structured_sparsity_holds():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(6, name="b")])
    recipe = Recipe(
        rules=(
            Rule(layers="a", sparsity=Sparsity(target=0.5, granularity="n_of_m", n_of_m=(2, 4))),
            Rule(layers="b", sparsity=Sparsity(target=0.5, granularity="block", block=(2, 2))),
        )
    )
    model = apply(model, recipe, total_steps=4)
    model.compile("adam", "mse")
    model.fit(np.ones((32, 8)), np.zeros((32, 6)), batch_size=8, verbose=0)
    plain, promises = finalize(model)
    grouped = plain.get_layer("a").kernel.numpy().T.reshape(8, 2, 4)
    assert (np.count_nonzero(grouped, axis=-1) == 2).all()
    blocks = plain.get_layer("b").kernel.numpy().reshape(4, 2, 3, 2).transpose(0, 2, 1, 3).reshape(12, 4)
    full = np.count_nonzero(blocks, axis=1)
    assert sorted(set(full)) == [0, 4] and (full == 0).sum() == 6
    assert [promise.zeros for promise in promises] == [32, 24]


@pytest.mark.parametrize("block", [(1, 6), (4, 2), (8, 1), (8, 3)])
def test_a_single_row_or_column_of_blocks_is_pruned_too(block):
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6, name="a")])
    rule = Rule(layers="a", sparsity=Sparsity(target=0.5, granularity="block", block=block))
    plain, (promise,) = finalize(apply(model, Recipe(rules=(rule,))))
    rows, columns = block
    kernel = plain.get_layer("a").kernel.numpy()
    blocks = kernel.reshape(8 // rows, rows, 6 // columns, columns).transpose(0, 2, 1, 3).reshape(-1, rows * columns)
    full = np.count_nonzero(blocks, axis=1)
    assert set(full) == {0, rows * columns} and promise.zeros == kernel.size / 2
    magnitude = np.abs(model.get_layer("a").kernel.numpy()).reshape(8 // rows, rows, 6 // columns, columns)
    magnitude = magnitude.mean(axis=(1, 3)).reshape(-1)
    assert magnitude[full > 0].min() >= magnitude[full == 0].max()


def test_finalizing_before_the_schedule_ends_breaks_the_promise():
    x, y = data((8, 8, 1), 5)
    model = compiled(apply(small_cnn(), recipe_of(sparsity=Sparsity(target=0.9)), total_steps=100))
    model.fit(x, y, batch_size=16, verbose=0)
    with pytest.raises(BrokenPromiseError, match="Train to the end of the schedule"):
        finalize(model)
