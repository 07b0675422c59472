import json

import keras
import numpy as np
import pytest
from train_models import TECHNIQUES, bits, recipe_of, small_cnn, small_mlp

from tfcompress.errors import InvalidInputError
from tfcompress.recipe import Codebook, Recipe, Rule, ScheduleSpec, Sparsity
from tfcompress.train import apply, plan, summary

layers = keras.layers


def test_plan_has_one_row_per_variable_and_says_why_not():
    recipe = Recipe(
        rules=(Rule(layers="*", sparsity=Sparsity(target=0.5), quantization=bits(4)), Rule(layers="depthwise"))
    )
    result = plan(small_cnn(), recipe)
    rows = {row.variable: row for row in result.rows}
    assert rows["conv1/kernel"].sparsity == 0.5 and rows["conv1/kernel"].num_bits == 4
    assert rows["conv1/kernel"].parameters == 36 and not rows["conv1/kernel"].reason
    assert rows["depthwise/kernel"].reason == "exempt by rule"
    assert "axes" in rows["norm/gamma"].reason and "axes" in rows["dense/bias"].reason
    assert len(result.rows) == len(small_cnn().weights)
    assert json.loads(json.dumps(result.to_json()))[0]["shape"] == [3, 3, 1, 4]
    assert "conv1/kernel" in str(result) and "exempt by rule" in str(result)


def test_rules_name_layers_by_their_own_path_or_the_path_around_them():
    tokens = keras.Input((4,), dtype="int32")
    hidden = layers.Bidirectional(layers.GRU(3, name="gru"), name="both")(layers.Embedding(5, 3, name="embed")(tokens))
    model = keras.Model(tokens, layers.Dense(2, name="out")(hidden))
    rows = plan(model, recipe_of("both", **TECHNIQUES["ste"])).rows
    asked = [row.variable for row in rows if row.num_bits]
    assert len(asked) == 4 and all(name.startswith("both/") for name in asked)


@pytest.mark.parametrize("act", [plan, apply])
def test_an_unmatched_rule_is_an_error(act):
    with pytest.raises(InvalidInputError, match="conv9.*conv1"):
        act(small_cnn(), recipe_of("conv9", **TECHNIQUES["ste"]))


@pytest.mark.parametrize("act", [plan, apply])
def test_an_unbuilt_model_is_an_error(act):
    with pytest.raises(InvalidInputError, match="built before.*Call the model once"):
        act(keras.Sequential([layers.Dense(3)]), recipe_of(**TECHNIQUES["ste"]))
    with pytest.raises(InvalidInputError, match="Keras 3"):
        act("model.keras", recipe_of(**TECHNIQUES["ste"]))


@pytest.mark.parametrize(
    ("techniques", "message"),
    [
        ({"sparsity": Sparsity(target=0.5, granularity="block", block=(2, 2))}, "conv1/kernel.*do not tile 9 x 4"),
        ({"sparsity": Sparsity(target=0.5, granularity="n_of_m", n_of_m=(2, 4))}, "conv1/kernel.*multiples of 4"),
        ({"codebook": Codebook(num_centroids=64)}, "conv1/kernel.*more centroids"),
    ],
)
def test_what_a_weight_can_not_hold_is_refused_before_training(techniques, message):
    recipe = recipe_of("conv1", **techniques)
    assert plan(small_cnn(), recipe).refused
    assert "REFUSED" in str(plan(small_cnn(), recipe))
    with pytest.raises(InvalidInputError, match=message):
        apply(small_cnn(), recipe)


def test_blocks_and_channels_need_the_axes_that_they_are_cut_from():
    blocks = Sparsity(target=0.5, granularity="block", block=(1, 2))
    with pytest.raises(InvalidInputError, match="depthwise/kernel.*last axis is the output channel"):
        apply(small_cnn(), recipe_of("depthwise", sparsity=blocks))
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, name="single")])
    with pytest.raises(InvalidInputError, match="single/kernel.*single channel"):
        apply(model, recipe_of("single", sparsity=Sparsity(target=0.5, granularity="channel")))


def test_remat_is_refused_by_name():
    with keras.RematScope("full"):
        layer = layers.Dense(3, name="rematerialized")
    model = keras.Sequential([keras.Input((4,)), layer])
    with pytest.raises(InvalidInputError, match="rematerialized/kernel.*keras.remat"):
        apply(model, recipe_of(**TECHNIQUES["ste"]))


def test_a_schedule_that_misses_its_target_is_an_error():
    config = {"initial_sparsity": 0.0, "final_sparsity": 0.8, "begin_step": 0, "end_step": 50, "frequency": 20}
    sparsity = Sparsity(target=0.8, schedule=ScheduleSpec(class_name="PolynomialDecay", config=config))
    for total_steps in (None, 100, 30):
        with pytest.raises(InvalidInputError, match="reach the target.*begin_step"):
            apply(small_mlp(), recipe_of(sparsity=sparsity), total_steps=total_steps)
    with pytest.raises(InvalidInputError, match="NoSuchSchedule"):
        apply(
            small_mlp(),
            recipe_of(sparsity=Sparsity(target=0.5, schedule={"class_name": "NoSuchSchedule", "config": {}})),
        )


def test_nesting_is_an_error():
    wrapped = apply(small_mlp("linear"), recipe_of(**TECHNIQUES["ste"]))
    outer = keras.Sequential([keras.Input((6,)), wrapped, layers.Dense(2, name="head")])
    with pytest.raises(InvalidInputError, match="compressed once"):
        apply(outer, recipe_of(**TECHNIQUES["ste"]))


def test_applying_again_merges_rules():
    first = apply(small_mlp(), recipe_of("hidden", quantization=bits(8), sparsity=Sparsity(target=0.5)))
    second = apply(first, recipe_of("*", quantization=bits(3)))
    asked = {t.variable: (t.sparsity and t.sparsity.target, t.quantization.num_bits) for t in second.targets}
    assert asked == {"hidden/kernel": (0.5, 3), "out/kernel": (None, 3)}
    assert np.array_equal(first.transforms[0].mask.numpy(), second.transforms[0].mask.numpy())


@pytest.mark.parametrize("action", ["train_step", "compute_loss"])
def test_a_model_with_its_own_training_step_is_refused(action):
    cls = type("Own", (keras.Sequential,), {action: lambda self, *args, **kwargs: None})
    model = cls([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(InvalidInputError, match=action):
        apply(model, recipe_of(**TECHNIQUES["ste"]))


def test_another_backend_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(InvalidInputError, match="KERAS_BACKEND=jax.*KERAS_BACKEND=tensorflow"):
        plan(small_mlp(), recipe_of(**TECHNIQUES["ste"]))


def test_summary_tells_what_each_weight_holds():
    model = apply(small_mlp(), recipe_of("hidden", quantization=bits(4), sparsity=Sparsity(target=0.75)))
    lines = [line.split() for line in summary(model).splitlines()]
    assert lines[2] == ["hidden/kernel", "96", "24", "(25.0%)", "4", "48"] and len(lines) == 3
    with pytest.raises(InvalidInputError, match="must be compressed"):
        summary(small_mlp())
