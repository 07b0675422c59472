import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# What has a suffix is a module that several tools share.
TOOLS = sorted(path for path in (ROOT / "tools").iterdir() if path.is_file() and not path.suffix)
TOOLS.append(ROOT / ".ci" / "run")


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Ten classes of noisy 28x28 images, as an npz of the benchmarks' form."""
    rng = np.random.default_rng(0)
    prototypes = rng.integers(0, 200, (10, 28, 28))
    labels = np.arange(1280, dtype=np.uint8) % 10
    pictures = (prototypes[labels] + rng.integers(0, 56, (1280, 28, 28))).astype(np.uint8)
    path = tmp_path_factory.mktemp("tools") / "images.npz"
    np.savez(path, x_train=pictures, y_train=labels, x_test=pictures[:200], y_test=labels[:200])
    return path


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.name)
def test_every_tool_can_be_started(tool):
    assert os.access(tool, os.X_OK)
    first = tool.read_text(encoding="utf-8").splitlines()[0]
    if first == "#!/usr/bin/env bash":
        run("bash", "-n", tool)
    else:
        assert first == """#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/python" "$0" "$@"'"""
        compile(tool.read_text(encoding="utf-8"), str(tool), "exec")


def test_train_reference_saves_a_model_without_optimizer(images, tmp_path):
    out, figures = tmp_path / "lenet300.keras", tmp_path / "lenet300.json"
    run(
        sys.executable, ROOT / "tools" / "train_reference", "lenet300", "--data", images, "--out", out,
        "--json", figures, "--epochs", "2",
    )  # fmt: skip
    assert json.loads(figures.read_text())["parameters"] == 266_610
    assert json.loads(figures.read_text())["accuracy"] > 0.9
    import keras

    model = keras.saving.load_model(out)
    assert not model.compiled
    assert isinstance(model.layers[0], keras.layers.Rescaling)


def test_tfmot_files_keep_their_size_and_ours_do_not(images, tmp_path):
    out = tmp_path / "rows.json"
    run(sys.executable, ROOT / "tools" / "compare_tfmot", "--data", images, "--json", out, "--quick")
    rows = {row["model"]: row for row in json.loads(out.read_text())}
    assert {row["tfmot_bytes"] for row in rows.values()} == {1_068_340}
    assert rows["trained only"]["tfcompress_bytes"] <= 1_068_340
    assert rows["16 clusters"]["tfcompress_bytes"] < 1_068_340 / 7
    assert rows["both"]["levels"] <= 17
    assert rows["both"]["tfcompress_bytes"] < 1_068_340 / 25
