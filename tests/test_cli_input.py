"""Bad input to every command: exit code 2, one line that says rule, received and remedy."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from tfcompress.cli import app
from tfcompress.cli.console import FAULT_EXIT_CODE

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, its data, and damaged variants of both."""
    path = tmp_path_factory.mktemp("cli")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,), name="x"), keras.layers.Dense(8, activation="relu", name="first"), keras.layers.Dense(3)]
    )
    model.save(path / "model.keras")
    (path / "corrupt.keras").write_bytes((path / "model.keras").read_bytes()[:1000])
    lambdas = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Dense(3)])
    lambdas.save(path / "lambda.keras")
    random = np.random.default_rng(0)
    x, y = random.random((20, 4)), random.integers(0, 3, 20)
    good = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    spoiled = x.copy()
    spoiled[3, 2] = np.nan
    variants = {
        "good": {},
        "nan": {"x_train": spoiled},
        "nan_test": {"x_test": spoiled},
        "shape": {"x_train": x[:, :3], "x_test": x[:, :3]},
        "labels": {"y_train": y + 2},
        "lengths": {"y_train": y[:-1]},
    }
    for name, change in variants.items():
        np.savez(path / f"{name}.npz", **(good | change))
    np.savez(path / "keys.npz", x=x, y=y)
    (path / "corrupt.npz").write_text("no archive")
    recipes = {
        "field": "rules: [{layers: '*', sparcity: {target: 0.5}}]",
        "unmatched": "rules: [{layers: 'no_such_layer', quantization: {num_bits: 4}}]",
        "range": "rules: [{layers: '*', quantization: {num_bits: 9}}]",
        "yaml": "rules: [",
    }
    for name, text in recipes.items():
        (path / f"{name}.yaml").write_text(text)
    (path / "text.tflite").write_text("hello, I am no model")
    with (path / "large.tflite").open("wb") as file:
        file.write(b"\x1c\0\0\0TFL3")
        file.truncate(2**31)  # a hole: it takes no space on the disk, and must not be read
    (path / "bad_promises.json").write_text('[{"layer": "x"}]')
    return path


# Arguments with {} for the folder -> what the line must say.
CASES = {
    "no model": ("compress {}/none.keras --data {}/good.npz --preset light", "must be an existing file"),
    "corrupt model": ("compress {}/corrupt.keras --data {}/good.npz --preset light", "must be an undamaged"),
    "lambda": ("compress {}/lambda.keras --data {}/good.npz --preset light", "Lambda.*--unsafe"),
    "no teacher": (
        "compress {}/model.keras --data {}/good.npz --preset light --teacher {}/none.keras",
        "existing file",
    ),
    "no data": ("compress {}/model.keras --data {}/none.npz --preset light", "existing .npz"),
    "corrupt data": ("compress {}/model.keras --data {}/corrupt.npz --preset light", "undamaged .npz"),
    "keys": ("compress {}/model.keras --data {}/keys.npz --preset light", "x_train, y_train, x_test, y_test"),
    "shape": ("compress {}/model.keras --data {}/shape.npz --preset light", r"must have shape \(samples, 4\)"),
    "lengths": ("compress {}/model.keras --data {}/lengths.npz --preset light", "same number of samples"),
    "nan": ("compress {}/model.keras --data {}/nan.npz --preset light", "x_train must be finite"),
    "nan in test": ("compress {}/model.keras --data {}/nan_test.npz --preset light", "x_test must be finite"),
    "labels": ("compress {}/model.keras --data {}/labels.npz --preset light", "whole numbers from 0 to 2"),
    "no recipe": ("compress {}/model.keras --data {}/good.npz", "exactly one of --recipe and --preset"),
    "both": ("compress {}/model.keras --data {}/good.npz --preset light --recipe {}/field.yaml", "exactly one"),
    "recipe field": ("compress {}/model.keras --data {}/good.npz --recipe {}/field.yaml", "sparcity"),
    "recipe range": ("compress {}/model.keras --data {}/good.npz --recipe {}/range.yaml", "num_bits"),
    "recipe yaml": ("compress {}/model.keras --data {}/good.npz --recipe {}/yaml.yaml", "valid YAML"),
    "recipe missing": ("compress {}/model.keras --data {}/good.npz --recipe {}/none.yaml", "readable text file"),
    "unmatched rule": ("compress {}/model.keras --data {}/good.npz --recipe {}/unmatched.yaml", "no_such_layer.*first"),
    "preset": ("compress {}/model.keras --data {}/good.npz --preset mild", "light, deep, extreme"),
    "epochs": ("compress {}/model.keras --data {}/good.npz --preset light --epochs 0", "epochs must be at least 1"),
    "budget": ("compress {}/model.keras --data {}/good.npz --preset light --max-size 0", "budget must be positive"),
    "metric": ("compress {}/model.keras --data {}/good.npz --preset light --metric nonsense", "name of a Keras metric"),
    "plan, unmatched": ("plan {}/model.keras --recipe {}/unmatched.yaml", "must match at least one"),
    "plan, no model": ("plan {}/none.keras --preset deep", "existing file"),
    "convert": ("convert {}/corrupt.keras --out {}/out.tflite", "must be an undamaged"),
    "pack": ("pack {}/text.tflite --out {}/out.tflite", r"must be a \.tflite file"),
    "pack, no out": ("pack {}/text.tflite", "exactly one of OUT and --out.*neither"),
    "pack, two outs": ("pack {}/text.tflite {}/out.tflite --out {}/out.tflite", "exactly one of OUT and --out"),
    "pack, too large": ("pack {}/large.tflite --out {}/out.tflite", "must stay below 2 GiB.*2147483648 bytes"),
    "diff": ("diff {}/text.tflite {}/text.tflite", r"must be a \.tflite file"),
    "diff, missing": ("diff {}/text.tflite {}/none.tflite", r"must be a \.tflite file"),
    "expand, no out": ("expand {}/text.tflite", "exactly one of OUT and --out"),
    "pack, missing": ("pack {}/none.tflite --out {}/out.tflite", r"readable \.tflite"),
    "expand": ("expand {}/text.tflite --out {}/out.tflite", r"must be a \.tflite file"),
    "inspect": ("inspect {}/text.tflite", r"must be a \.tflite file"),
    "audit": ("audit {}/text.tflite", r"must be a \.tflite file"),
    "audit, promises": ("audit {}/text.tflite --promises {}/bad_promises.json", "promises.json"),
    "audit, no promises": ("audit {}/text.tflite --promises {}/none.json", "promises.json"),
    "benchmark": ("benchmark {}/text.tflite", r"valid \.tflite"),
    "benchmark, missing": ("benchmark {}/none.tflite", "existing file"),
    "benchmark, rounds": ("benchmark {}/text.tflite --rounds 0", "at least one file, one round"),
    "evaluate": ("evaluate {}/text.tflite --data {}/good.npz", r"valid \.tflite"),
    "evaluate, data": ("evaluate {}/text.tflite --data {}/keys.npz", "x_train, y_train, x_test, y_test"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("extra", [[], ["--json"]], ids=["text", "json"])
def test_bad_input_is_one_line_and_exit_code_2(case, extra, folder, tmp_path):
    line, message = CASES[case]
    arguments = line.replace("{}", str(folder)).split() + extra
    old = tmp_path / "model.tflite"
    old.write_bytes(b"an old good file")
    if arguments[0] == "compress":
        arguments += ["--out", str(tmp_path)]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Received: " in result.stderr
    assert re.search(message, result.stderr), result.stderr
    assert old.read_bytes() == b"an old good file"
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
    assert not (folder / "out.tflite").exists()


def test_an_output_folder_that_cannot_be(folder):
    out = folder / "text.tflite" / "out"
    arguments = ["compress", str(folder / "model.keras"), "--data", str(folder / "good.npz"), "--preset", "light"]
    result = RUNNER.invoke(app, [*arguments, "--out", str(out)])
    assert result.exit_code == 2
    assert "must be a writable folder" in result.stderr


def test_a_full_output_folder(folder, tmp_path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    arguments = ["compress", str(folder / "model.keras"), "--data", str(folder / "good.npz"), "--preset", "light"]
    result = RUNNER.invoke(app, [*arguments, "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "with 100 bytes free" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"\x7fELF" + b"\x00" * 60, b"no library"])
def test_a_native_library_that_is_missing_or_foreign(content, folder, tmp_path, monkeypatch):
    library = tmp_path / "other.so"
    if content is not None:
        library.write_bytes(content)
    monkeypatch.setenv("TFC_DELEGATE_PATH", str(library))
    arguments = ["compress", str(folder / "model.keras"), "--data", str(folder / "good.npz"), "--preset", "light"]
    result = RUNNER.invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: the native library must")
    assert "TFC_DELEGATE_PATH" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_program_s_help_names_the_exit_codes(arguments):
    result = RUNNER.invoke(app, arguments)
    for text in (
        "Exit codes: 0 fine",
        "demo",
        "plan",
        "compress",
        "convert",
        "pack",
        "expand",
        "inspect",
        "diff",
        "audit",
    ):
        assert text in result.output


@pytest.mark.parametrize(
    "command",
    ["demo", "plan", "compress", "convert", "pack", "expand", "inspect", "diff", "audit", "benchmark", "evaluate"],
)
def test_every_command_has_help_json_and_exit_codes(command):
    result = RUNNER.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert "Exit code" in result.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "No such command 'nonsense'. Try 'tfcompress --help'."),
        ("plan", "Missing argument 'MODEL'. Try 'tfcompress plan --help'."),
        ("convert m.keras", "Missing option '--out'. Try 'tfcompress convert --help'."),
        ("benchmark x --rounds x", "Invalid value for '--rounds'"),
        ("pack x y z", "Got unexpected extra argument"),
        ("inspect x --jason", "No such option: --jason"),
    ],
)
def test_usage_errors_are_one_line_and_exit_with_2(line, message):
    result = RUNNER.invoke(app, line.split(), prog_name="tfcompress")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and len(result.stderr.strip().splitlines()) == 1
    assert message in result.stderr
    assert "--help'." in result.stderr


def test_a_fault_of_ours_is_one_line_too(folder, monkeypatch):
    from tfcompress import files

    def broken(path):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(files, "read_tflite", broken)
    result = RUNNER.invoke(app, ["inspect", str(folder / "text.tflite")])
    assert result.exit_code == FAULT_EXIT_CODE
    assert result.stderr == "error: RuntimeError: two lines (a fault of tfcompress; TFC_DEBUG=1 shows where)\n"


def test_plan_says_what_would_be_done(folder):
    result = RUNNER.invoke(app, ["plan", str(folder / "model.keras"), "--preset", "deep", "--json"])
    assert result.exit_code == 0, result.stderr
    rows = {row["variable"]: row for row in json.loads(result.stdout)["rows"]}
    assert rows["first/kernel"]["num_bits"] == 4
    assert "first/kernel" in RUNNER.invoke(app, ["plan", str(folder / "model.keras"), "--preset", "deep"]).stdout


def test_the_version():
    import tfcompress

    assert RUNNER.invoke(app, ["--version"]).stdout == f"tfcompress {tfcompress.__version__}\n"
