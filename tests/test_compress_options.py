"""Every option of a recipe changes the bytes that ship: none is an ornament."""

import keras
import numpy as np
import pytest

import tfcompress as tfc
from tfcompress.recipe import dump_recipe

BASE = {"sparsity": {"target": 0.5}, "quantization": {"num_bits": 4}}
SHARED = {"codebook": {"num_centroids": 8}}
TEACHER = {"distillation": {"temperature": 4.0, "alpha": 0.5, "loss": "kl"}}
RAMP = {"class_name": "ConstantSparsity", "config": {"target_sparsity": 0.5, "begin_step": 2, "frequency": 2}}

# name -> (techniques before, techniques after, other fields before, other fields after)
OPTIONS = {
    "sparsity": ({"quantization": {"num_bits": 4}}, BASE, {}, {}),
    "sparsity.target": (BASE, BASE | {"sparsity": {"target": 0.6}}, {}, {}),
    "sparsity.schedule": (BASE, BASE | {"sparsity": {"target": 0.5, "schedule": RAMP}}, {}, {}),
    "sparsity.n_of_m": (BASE, BASE | {"sparsity": {"target": 0.5, "granularity": "n_of_m", "n_of_m": [2, 4]}}, {}, {}),
    "sparsity.block": (BASE, BASE | {"sparsity": {"target": 0.5, "granularity": "block", "block": [1, 4]}}, {}, {}),
    "sparsity.channel": (BASE, BASE | {"sparsity": {"target": 0.5, "granularity": "channel"}}, {}, {}),
    "sparsity.scope": (BASE, BASE | {"sparsity": {"target": 0.5, "scope": "global"}}, {}, {}),
    "sparsity.allocation": (BASE, BASE | {"sparsity": {"target": 0.5, "allocation": "erk"}}, {}, {}),
    "sparsity.threshold": (BASE, BASE | {"sparsity": {"criterion": "threshold", "threshold": 0.2}}, {}, {}),
    **{
        f"sparsity.criterion={criterion}": (BASE, BASE | {"sparsity": {"target": 0.5, "criterion": criterion}}, {}, {})
        for criterion in ("taylor", "movement", "fisher", "obd", "random")
    },
    "codebook": ({"quantization": {"num_bits": 4}}, SHARED, {}, {}),
    "codebook.num_centroids": (SHARED, {"codebook": {"num_centroids": 6}}, {}, {}),
    **{
        f"codebook.init={init}": (SHARED, {"codebook": {"num_centroids": 8, "init": init}}, {}, {})
        for init in ("linear", "density", "random")
    },
    "codebook.values": (SHARED, {"codebook": {"values": [-0.4, -0.2, -0.1, 0, 0.1, 0.2, 0.4]}}, {}, {}),
    "codebook.granularity": (SHARED, {"codebook": {"num_centroids": 8, "granularity": "channel"}}, {}, {}),
    "codebook with bits": (SHARED, SHARED | {"quantization": {"num_bits": 4}}, {}, {}),
    **{
        f"quantization.num_bits={bits}": (BASE, BASE | {"quantization": {"num_bits": bits}}, {}, {})
        for bits in (2, 3, 5, 6, 7, 8)
    },
    "quantization.granularity": (BASE, BASE | {"quantization": {"num_bits": 4, "granularity": "tensor"}}, {}, {}),
    "quantization.estimator": (BASE, BASE | {"quantization": {"num_bits": 4, "estimator": "lsq"}}, {}, {}),
    **{
        f"quantization.scheme={scheme}": (BASE, BASE | {"quantization": {"scheme": scheme}}, {}, {})
        for scheme in ("ternary", "binary", "power_of_two")
    },
    "quantization.ttq": (
        BASE | {"quantization": {"scheme": "ternary", "granularity": "tensor"}},
        BASE | {"quantization": {"scheme": "ternary", "estimator": "ttq"}},
        {},
        {},
    ),
    "distillation": (BASE, BASE, {}, TEACHER),
    "distillation.temperature": (BASE, BASE, TEACHER, {"distillation": {"temperature": 1.0, "alpha": 0.5}}),
    "distillation.alpha": (BASE, BASE, TEACHER, {"distillation": {"temperature": 4.0, "alpha": 0.9}}),
    "distillation.loss": (BASE, BASE, TEACHER, {"distillation": {"alpha": 0.5, "loss": "mse"}}),
    "epochs": (BASE, BASE, {}, {"epochs": 2}),
    "batch_size": (BASE, BASE, {}, {"batch_size": 16}),
    "learning_rate": (BASE, BASE, {}, {"learning_rate": 0.02}),
    "seed": (BASE, BASE, {}, {"seed": 1}),
}


@pytest.fixture(scope="module")
def shipped():
    """A function from techniques and fields to the packed file; each recipe runs once."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(4, name="logits")])
    random = np.random.default_rng(0)
    x = random.normal(size=(128, 8)).astype(np.float32)
    data = (x, np.argmax(x[:, :4], axis=1))
    files = {}

    def run(techniques, fields):
        recipe = tfc.Recipe(
            rules=({"layers": "*", **techniques},), **({"epochs": 1, "batch_size": 32, "learning_rate": 0.01} | fields)
        )
        key = dump_recipe(recipe)
        if key not in files:
            model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            total_steps = recipe.epochs * 128 // recipe.batch_size
            wrapped = tfc.apply(model, recipe, total_steps=total_steps, data=[data])
            trainee = wrapped
            if recipe.distillation is not None:
                trainee = tfc.Distiller(wrapped, model, **recipe.distillation.model_dump())
            keras.utils.set_random_seed(recipe.seed)
            trainee.compile(keras.optimizers.Adam(recipe.learning_rate), model.loss)
            trainee.fit(*data, epochs=recipe.epochs, batch_size=recipe.batch_size, verbose=0)
            files[key] = tfc.pack(tfc.to_float_tflite(tfc.finalize(wrapped).model))
        return files[key]

    return run


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_what_ships(option, shipped):
    before, after, fields_before, fields_after = OPTIONS[option]
    assert shipped(before, fields_before) != shipped(after, fields_after)
