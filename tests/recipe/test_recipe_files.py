import json

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcompress.errors import InvalidInputError
from tfcompress.recipe import (
    Codebook,
    Distillation,
    Quantization,
    Recipe,
    Rule,
    ScheduleSpec,
    Sparsity,
    dump_recipe,
    load_recipe,
    parse_recipe,
    preset,
    preset_names,
    recipe_schema,
)

sparsities = st.one_of(
    st.builds(
        Sparsity,
        target=st.floats(0.01, 0.99),
        schedule=st.none() | st.just(ScheduleSpec(class_name="ConstantSparsity", config={"begin_step": 3})),
    ),
    st.just(Sparsity(target=0.5, granularity="n_of_m", n_of_m=(2, 4))),
    st.just(Sparsity(target=0.5, granularity="block", block=(1, 16))),
)
rules = st.builds(
    Rule,
    layers=st.sampled_from(["*", "conv?", "re:block.*", "'quoted': yes"]),
    sparsity=st.none() | sparsities,
    codebook=st.none() | st.builds(Codebook, num_centroids=st.integers(2, 3)),
    quantization=st.none()
    | st.builds(Quantization, num_bits=st.integers(2, 8), estimator=st.sampled_from(["ste", "lsq"])),
)
recipes = st.builds(
    Recipe,
    name=st.text(max_size=20),
    rules=st.lists(rules, min_size=1, max_size=3).map(tuple),
    distillation=st.none() | st.builds(Distillation, alpha=st.floats(0, 1), loss=st.sampled_from(["kl", "mse"])),
    epochs=st.integers(1, 100),
    learning_rate=st.floats(1e-6, 1.0),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(recipes, st.sampled_from(["yaml", "json"]))
def test_text_round_trip(recipe, format):
    assert parse_recipe(dump_recipe(recipe, format)) == recipe


@settings(max_examples=40, deadline=None, derandomize=True)
@given(recipes)
def test_dump_keeps_to_the_schema(recipe):
    validator = jsonschema.Draft202012Validator(recipe_schema())
    assert list(validator.iter_errors(json.loads(dump_recipe(recipe, "json")))) == []


def test_schema_refuses_what_the_model_refuses():
    with pytest.raises(jsonschema.ValidationError, match="unexpected"):
        jsonschema.validate({"rules": [{"layers": "*", "bits": 4}]}, recipe_schema())


@pytest.mark.parametrize("name", preset_names())
def test_preset_compresses_every_layer(name):
    recipe = preset(name)
    assert recipe.name == name
    assert recipe.rule_for("any/layer") is not None
    assert not recipe.rule_for("any/layer").is_empty
    recipe.check_rules_match(["only_layer"])


def test_presets_ask_for_more_and_more():
    bits = [preset(name).rule_for("x").quantization.num_bits for name in preset_names()]
    zeros = [preset(name).rule_for("x").sparsity for name in preset_names()]
    assert bits == sorted(bits, reverse=True)
    fractions = [sparsity.target if sparsity else 0.0 for sparsity in zeros]
    assert fractions == sorted(fractions) and fractions[-1] > fractions[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [", "must be valid YAML or JSON"),
        ("- 1", "must be a mapping of fields.*holds list"),
        ("", "must be a mapping of fields.*holds NoneType"),
        ("1: 2", "must keep to its schema"),
        ("rules: [{layers: '*', bits: 4}]", r"rules\.0\.bits: Extra inputs are not permitted"),
        ("rules: [{layers: '*', quantization: {num_bits: 40}}]", r"rules\.0\.quantization\.num_bits"),
    ],
)
def test_bad_text_is_one_line_that_names_the_field(text, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        parse_recipe(text)
    assert "\n" not in str(caught.value)


def test_files(tmp_path):
    recipe = preset("deep")
    for format in ("yaml", "json"):
        path = tmp_path / f"recipe.{format}"
        path.write_text(dump_recipe(recipe, format), encoding="utf-8")
        assert load_recipe(path) == recipe


def test_missing_or_binary_file(tmp_path):
    with pytest.raises(InvalidInputError, match="must be a readable text file"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="must be a readable text file"):
        load_recipe(tmp_path / "binary.yaml")


def test_unknown_names():
    with pytest.raises(InvalidInputError, match="one of light, deep, extreme.*Received: preset='huge'"):
        preset("huge")
    with pytest.raises(InvalidInputError, match="'yaml' or 'json'"):
        dump_recipe(preset("light"), "toml")


def test_schedule_of_tfmot_is_kept_as_name_and_config():
    class PolynomialDecay:
        def __call__(self, step):
            return True, 0.8

        def get_config(self):  # the form of TFMOT 0.8
            return {"class_name": "PolynomialDecay", "config": {"final_sparsity": 0.8, "end_step": 100}}

    sparsity = Sparsity(target=0.8, schedule=PolynomialDecay())
    assert sparsity.schedule == ScheduleSpec(
        class_name="PolynomialDecay", config={"final_sparsity": 0.8, "end_step": 100}
    )
    recipe = Recipe(rules=(Rule(layers="*", sparsity=sparsity),))
    assert parse_recipe(dump_recipe(recipe)) == recipe


def test_schedule_is_recognised_by_its_shape():
    class Linear:
        def __call__(self, step):
            return True, step / 100

        def get_config(self):
            return {"slope": 0.01}

    assert Sparsity(target=0.5, schedule=Linear()).schedule == ScheduleSpec(class_name="Linear", config={"slope": 0.01})


def test_yaml_dump_is_readable():
    fields = yaml.safe_load(dump_recipe(preset("deep")))
    assert list(fields)[:3] == ["version", "name", "rules"]
    assert "codebook" not in fields["rules"][0]
