"""The figures of whole networks, on files of one op that stand in for them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent.parent / "tools"


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import model_rows

    return model_rows


@pytest.fixture
def run(rows, tmp_path):
    import bench

    return bench.Run(tmp_path, tmp_path, True)


@pytest.fixture
def maker(rows, monkeypatch):
    """Stands in for the process that makes a variant: large stock files, a small packed one, one that is refused."""
    made = []

    def start(command, **_):
        name, variant, folder = command[2:]
        made.append((name, variant))
        from kernel_models import float_conv

        if variant == "full_int8":
            return subprocess.CompletedProcess(command, -11, "", "")
        if variant == maker.missing:
            return subprocess.CompletedProcess(command, 1, "", "ModuleNotFoundError: No module named 'tool'")
        size = 4 if variant == "packed" else 24
        Path(folder, f"{variant}.tflite").write_bytes(float_conv(size, 3, 16, 16))
        return subprocess.CompletedProcess(command, 0, "", "")

    maker.missing = None
    maker.made = made
    monkeypatch.setattr(rows.subprocess, "run", start)
    return maker


def test_the_best_stock_variant_counts_and_refused_ones_do_not(rows, run, maker, capsys):
    figure = rows.speedup("lenet5")(run)
    assert figure > 1  # 36 times the pixels
    said = capsys.readouterr().err
    assert "lenet5 full_int8 is left out: its tool died of signal 11" in said
    assert "lenet5 quantizer_int4:" in said
    maker.made.clear()
    rows.speedup("lenet5")(run)
    assert maker.made == [("lenet5", "packed")]  # the others depend on no source of ours


def test_a_missing_tool_is_no_refusal(rows, run, maker):
    import bench

    maker.missing = "quantizer_int8"
    with pytest.raises(bench.BenchmarkError, match="quantizer_int8 of lstm cannot be made: ModuleNotFoundError"):
        rows.speedup("lstm")(run)
    assert not list(run.cache.rglob("quantizer_int8.*"))


def test_two_threads_are_compared_with_one(rows, run, maker, capsys):
    assert rows.threads("resnet50")(run) > 0
    assert "on one thread" in capsys.readouterr().err
    assert maker.made[-1] == ("lenet5", "packed")  # what a quick run takes in its place


def test_memory_counts_what_lives_at_once(rows):
    from kernel_models import float_conv

    assert rows._least_arena(float_conv(8, 3, 5, 7)) == 4 * 64 * (5 + 7)


def test_the_rows_are_those_of_its_table(tmp_path):
    done = subprocess.run([sys.executable, str(TOOLS / "bench_models"), "--help"], capture_output=True, text=True)
    for name in ("resnet50", "mobilenet_v2", "lenet5", "lstm", "attention"):
        assert name in done.stdout
    assert "resnet50_memory" in done.stdout and "mobilenet_v2_threads" in done.stdout
    data = tmp_path / "data"
    data.mkdir()
    for name in ("mnist.npz", "fashion_mnist.npz"):
        (data / name).write_bytes(b"none")
    out = tmp_path / "rows.json"
    line = ["--data", data, "--cache", tmp_path, "--json", out, "--quick", "--only", "attention_unknown"]
    done = subprocess.run(
        [sys.executable, TOOLS / "bench_models", *map(str, line)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and not out.exists() and json.dumps("attention") not in done.stdout
