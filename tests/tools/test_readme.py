import re
import shutil
from pathlib import Path

from tfcompress.recipe import parse_recipe

ROOT = Path(__file__).resolve().parent.parent.parent


def block(language):
    return re.search(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "saved_models" / "digits_cnn.keras", tmp_path / "model.keras")
    shutil.copy(ROOT / "saved_models" / "digits.npz", tmp_path / "data.npz")
    monkeypatch.chdir(tmp_path)
    example = block("python")
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["result"].ratio > 5
    assert "audit passed: True" in capsys.readouterr().out
    assert (tmp_path / "out" / "model.tflite").stat().st_size == names["result"].compressed.bytes


def test_the_recipe_of_the_readme_is_one():
    recipe = parse_recipe(block("yaml"))
    assert recipe.rule_for("conv").quantization.num_bits == 4
    assert recipe.rule_for("block1/conv").codebook.num_centroids == 15
    assert recipe.rule_for("logits").is_empty


def test_every_command_of_the_readme_exists():
    from tfcompress.cli.app import app

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`tfcompress ([a-z]+) ", text))
    commands = {command.callback.__name__ for command in app.registered_commands}
    assert commands == documented | {"demo"}


def test_links_of_the_documents_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{name}: {target}"
