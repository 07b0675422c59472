"""Every command on good input, from a trained model to the audited file and back."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from tfcompress.cli import app

RUNNER = CliRunner()


def run(*arguments: object, code: int = 0) -> str:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model, its data, and what `compress` makes of them."""
    path = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 120)
    x = (np.eye(4)[y] * 3 + random.normal(0, 0.3, (120, 4))).astype(np.float32)
    np.savez(path / "data.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(64, "relu", name="hidden")
    model = keras.Sequential([keras.Input((4,), name="x"), hidden, keras.layers.Dense(3, name="out")])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=20, verbose=0)
    model.save(path / "model.keras")
    line = ("compress", path / "model.keras", "--data", path / "data.npz", "--preset", "deep", "--epochs", 2)
    (path / "stdout.json").write_text(run(*line, "--out", path / "out", "--json"))
    run("convert", path / "model.keras", "--out", path / "float.tflite")
    return path


def test_compress_prints_its_result_json(folder):
    printed = json.loads((folder / "stdout.json").read_text())
    assert printed == json.loads((folder / "out/result.json").read_text())
    assert printed["audit"]["passed"] is True
    assert printed["baseline"]["bytes"] == (folder / "float.tflite").stat().st_size
    assert {"accuracy", "latency_ms", "bytes"} <= set(printed["compressed"])


def test_compress_for_people(folder, tmp_path):
    line = ("compress", folder / "model.keras", "--data", folder / "data.npz", "--preset", "light", "--epochs", 1)
    text = run(*line, "--out", tmp_path)
    for part in ("float .tflite", "smaller", "hidden/kernel", "8 bits", "audit: every promise is kept", "report.html"):
        assert part in text


def test_a_broken_budget_exits_with_1(folder, tmp_path):
    line = ("compress", folder / "model.keras", "--data", folder / "data.npz", "--preset", "light", "--epochs", 1)
    result = RUNNER.invoke(app, [*map(str, line), "--out", str(tmp_path), "--max-size", "10", "--json"])
    assert result.exit_code == 1
    assert "error: size_bytes must be at most 10" in result.stderr
    assert json.loads(result.stdout)["budget"]["limits"] == {"size_bytes": 10}
    assert (tmp_path / "result.json").exists()


def test_evaluate_agrees_with_compress(folder):
    figures = json.loads(run("evaluate", folder / "out/model.tflite", "--data", folder / "data.npz", "--json"))
    result = json.loads((folder / "out/result.json").read_text())
    assert figures["accuracy"] == result["compressed"]["accuracy"]
    assert figures["samples"] == 50
    named = ("--metric", "sparse_categorical_accuracy", "--direction", "max", "--batch-size", 7)
    text = run("evaluate", folder / "out/model.tflite", "--data", folder / "data.npz", *named)
    assert f"sparse_categorical_accuracy {figures['accuracy']:.6g} on 50 samples" in text


def test_benchmark_of_both_files(folder):
    line = ("benchmark", folder / "float.tflite", folder / "out/model.tflite", "--rounds", 3)
    figures = json.loads(run(*line, "--json"))
    assert [timing["path"].split("/")[-1] for timing in figures["timings"]] == ["float.tflite", "model.tflite"]
    assert all(timing["peak_ram_bytes"] > 0 for timing in figures["timings"])
    assert "3 interleaved rounds" in run(*line, "--no-memory")


def test_expand_and_pack_are_inverse(folder, tmp_path):
    packed = folder / "out/model.tflite"
    run("expand", packed, "--out", tmp_path / "e.tflite")
    figures = json.loads(run("pack", tmp_path / "e.tflite", "--out", tmp_path / "p.tflite", "--json"))
    assert (tmp_path / "p.tflite").read_bytes() == packed.read_bytes()
    assert figures["ratio"] == figures["bytes_before"] / figures["bytes"] > 1


def test_the_second_argument_names_the_file_too(folder, tmp_path):
    run("expand", folder / "out/model.tflite", tmp_path / "e.tflite")
    run("pack", tmp_path / "e.tflite", tmp_path / "p.tflite")
    assert (tmp_path / "p.tflite").read_bytes() == (folder / "out/model.tflite").read_bytes()


def test_names_are_stripped_on_request_and_the_file_runs_by_index(folder, tmp_path):
    from tfcompress.runtime import Interpreter

    run("expand", folder / "out/model.tflite", tmp_path / "e.tflite")
    run("pack", tmp_path / "e.tflite", tmp_path / "s.tflite", "--strip-names")
    assert (tmp_path / "s.tflite").stat().st_size < (folder / "out/model.tflite").stat().st_size - 100
    outputs = []
    for file in (folder / "out/model.tflite", tmp_path / "s.tflite"):
        interpreter = Interpreter(model_path=str(file))
        interpreter.allocate_tensors()
        (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.set_tensor(source["index"], np.ones(source["shape"], np.float32))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(sink["index"]))
        assert bool(interpreter.get_signature_list()) == (file.name == "model.tflite")
    np.testing.assert_array_equal(*outputs)


def test_smallest_is_never_larger(folder, tmp_path):
    run("expand", folder / "out/model.tflite", tmp_path / "e.tflite")
    figures = json.loads(run("pack", tmp_path / "e.tflite", tmp_path / "s.tflite", "--smallest", "--json"))
    assert figures["bytes"] <= (folder / "out/model.tflite").stat().st_size


def test_a_packed_file_is_not_packed_again(folder, tmp_path):
    result = RUNNER.invoke(app, ["pack", str(folder / "out/model.tflite"), str(tmp_path / "again.tflite")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: a model must be packed once. Received: model=")
    assert "with TfcFullyConnected ops. Use it as it is, or expand it first." in result.stderr
    assert not (tmp_path / "again.tflite").exists()


def test_diff_is_silent_about_what_is_equal_and_exits_like_diff(folder, tmp_path):
    packed, plain = folder / "out/model.tflite", tmp_path / "e.tflite"
    assert "are identical" in run("diff", packed, packed)
    assert json.loads(run("diff", packed, packed, "--json"))["identical"] is True
    run("expand", packed, plain)
    text = run("diff", plain, packed, code=1)
    for part in ("- 2 FULLY_CONNECTED", "+ 2 TfcFullyConnected", "float32 -> uniform", "32 -> 4", "64x4"):
        assert part in text
    figures = json.loads(run("diff", plain, packed, "--json", code=1))
    assert figures["ops_added"] == {"TfcFullyConnected": 2} and figures["identical"] is False
    assert {row["max_difference"] for row in figures["tensors"]} == {0.0}


def test_inspect_lists_the_payloads(folder):
    figures = json.loads(run("inspect", folder / "out/model.tflite", "--json"))
    kernels = [tensor for tensor in figures["tensors"] if tensor["op"] == "TfcFullyConnected" and tensor["bits"] < 32]
    assert [tensor["shape"] for tensor in kernels] == [[64, 4], [3, 64]]
    assert "TfcFullyConnected" in run("inspect", folder / "out/model.tflite")


def test_audit_passes_with_its_promises_and_fails_with_stricter_ones(folder, tmp_path):
    packed, promises = folder / "out/model.tflite", folder / "out/promises.json"
    verdict = json.loads(run("audit", packed, "--promises", promises, "--json"))
    assert verdict["passed"] is True
    assert all(row["kept"] for row in verdict["rows"])
    assert "passed" in run("audit", packed)
    stricter = json.loads(promises.read_text())
    stricter[0]["num_bits"] = 2
    (tmp_path / "stricter.json").write_text(json.dumps(stricter))
    result = RUNNER.invoke(app, ["audit", str(packed), "--promises", str(tmp_path / "stricter.json"), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["passed"] is False
    assert result.stderr.startswith("error: 'hidden/kernel'")


@pytest.mark.parametrize("command", ["audit", "inspect", "expand", "benchmark", "evaluate"])
def test_a_flipped_bit_of_a_payload_is_found(command, folder, tmp_path):
    content = bytearray((folder / "out/model.tflite").read_bytes())
    content[content.index(b"TFCW") + 40] ^= 1
    (tmp_path / "flipped.tflite").write_bytes(content)
    more = {
        "expand": ["--out", str(tmp_path / "e.tflite")],
        "evaluate": ["--data", str(folder / "data.npz")],
    }.get(command, [])
    result = RUNNER.invoke(app, [command, str(tmp_path / "flipped.tflite"), *more])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "payload" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "e.tflite").exists()


def test_demo_compresses_the_packaged_model(tmp_path, monkeypatch):
    from tfcompress import recipe

    original = recipe.load_recipe
    monkeypatch.setattr(recipe, "load_recipe", lambda path: original(path).model_copy(update={"epochs": 2}))
    printed = json.loads(run("demo", "--out", tmp_path, "--json"))
    assert printed["model"] == "digits_cnn"
    assert printed["ratio"] > 10
    assert printed["audit"]["passed"] is True
    assert (tmp_path / "report.html").exists()


def test_pack_tunes_and_inspect_shows_the_choice(folder, tmp_path):
    result = RUNNER.invoke(app, ["pack", str(folder / "out/../float.tflite"), str(tmp_path / "p.tflite"), "--tune"])
    assert result.exit_code == 0, result.output
    rows = json.loads(run("inspect", tmp_path / "p.tflite", "--json"))["tensors"]
    assert {row["runs"] for row in rows} <= {"", "kernel", "decoded"}
    result = RUNNER.invoke(app, ["pack", str(folder / "float.tflite"), str(tmp_path / "q"), "--allow-slower", "-1"])
    assert result.exit_code == 2 and "allow-slower must be 0 or more percent" in result.output
