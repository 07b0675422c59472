"""The contract of every benchmark, on rows that take no time, and the format's rows that take little."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent.parent / "tools"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import bench

    return bench


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("mnist.npz", "fashion_mnist.npz"):
        (folder / name).write_bytes(b"no images are needed")
    return folder


@pytest.fixture
def start(bench, data, tmp_path, monkeypatch):
    """Runs a benchmark of five rows; gives its exit code and its JSON."""
    calls = []

    def measure(name, figure):
        def run(options):
            calls.append((name, options.quick))
            if isinstance(figure, Exception):
                raise figure
            return figure

        return run

    rows = (
        bench.Row("small", "B", 100, False, 1, measure("small", 90.0)),
        bench.Row("fast", "M weights/s", 80, True, 1, measure("fast", 70.0)),
        bench.Row("relative", "MB", None, False, 1, measure("relative", (5.0, 6.0))),
        bench.Row("broken", "s", 20, False, 1, measure("broken", bench.BenchmarkError("the reason"))),
        bench.Row("faulty", "s", 20, False, 1, measure("faulty", OSError("no disk"))),
    )
    source = tmp_path / "source.py"
    source.write_text("a figure depends on it")

    def run(*arguments):
        calls.clear()
        out = tmp_path / "rows.json"
        out.unlink(missing_ok=True)
        line = ["bench_x", "--data", data, "--json", out, "--cache", tmp_path / "cache", *arguments]
        monkeypatch.setattr(sys, "argv", [str(part) for part in line])
        code = bench.run_benchmark("x", "About.", rows, [source])
        return code, json.loads(out.read_text()), list(calls)

    run.source = source
    return run


def test_rows_have_the_agreed_fields_and_the_machine(start, capsys):
    code, found, _ = start()
    assert code == 0
    assert set(found) == {"rows", "machine"} and found["machine"]["cores"] == os.cpu_count()
    assert found["rows"] == [
        {"name": "small", "figure": 90.0, "must": 100, "unit": "B", "ok": True},
        {"name": "fast", "figure": 70.0, "must": 80, "unit": "M weights/s", "ok": False},
        {"name": "relative", "figure": 5.0, "must": 6.0, "unit": "MB", "ok": True},
        {"name": "broken", "figure": None, "must": 20, "unit": "s", "ok": False},
        {"name": "faulty", "figure": None, "must": 20, "unit": "s", "ok": False},
    ]
    said = capsys.readouterr().err
    assert "broken: the reason\n" in said and "faulty: OSError: no disk\n" in said


def test_check_fails_when_a_figure_is_missed(start):
    assert start("--check")[0] == 1
    assert start("--check", "--only", "fast")[0] == 1
    code, found, _ = start("--check", "--only", "small", "--only", "relative")
    assert code == 0 and [row["name"] for row in found["rows"]] == ["small", "relative"]


def test_a_quick_run_is_named_and_never_ok(start):
    code, found, calls = start("--check", "--only", "small", "--quick")
    assert code == 1 and calls == [("small", True)]
    assert found["rows"] == [{"name": "small (quick)", "figure": 90.0, "must": 100, "unit": "B", "ok": False}]


def test_figures_are_kept_until_their_sources_change(start):
    assert [name for name, _ in start()[2]] == ["small", "fast", "relative", "broken", "faulty"]
    code, found, calls = start("--check")
    assert code == 1 and [name for name, _ in calls] == [
        "broken",
        "faulty",
    ]  # what could not be measured is tried again
    assert found["rows"][0]["figure"] == 90.0
    assert start("--only", "small", "--quick")[2] == [("small", True)]  # a quick figure is another one
    assert start("--only", "small", "--fresh")[2] == [("small", False)]
    start.source.write_text("changed")
    assert [name for name, _ in start("--only", "small")[2]] == ["small"]


def test_missing_data_and_unknown_rows_are_refused(start, data, capsys):
    with pytest.raises(SystemExit) as stopped:
        start("--only", "nonsense")
    assert stopped.value.code == 2
    (data / "fashion_mnist.npz").unlink()
    with pytest.raises(SystemExit) as stopped:
        start()
    assert stopped.value.code == 2 and "no fashion_mnist.npz in" in capsys.readouterr().err


def test_time_left_is_told(start, bench, monkeypatch, capsys):
    start()
    assert "fast (2 of 5), about 4 s left for all" in capsys.readouterr().err
    monkeypatch.setattr(bench, "TICK", 0.01)
    clock = bench._Clock(bench.Row("slow", "s", 1, False, 60, lambda run: 0.0), False)
    with clock:
        clock._done.wait(0.2)
    assert "slow: about 60 s left" in capsys.readouterr().err


def test_the_format_s_rows_are_those_of_its_table(data, tmp_path):
    out = tmp_path / "rows.json"
    line = [TOOLS / "bench_format", "--data", data, "--cache", tmp_path, "--json", out, "--check"]
    line += ["--quick", "--only", "small_file", "--only", "entropy_16"]
    done = subprocess.run([sys.executable, *map(str, line)], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    rows = {row["name"]: row for row in json.loads(out.read_text())["rows"]}
    assert 1000 < rows["small_file (quick)"]["figure"] <= rows["small_file (quick)"]["must"] == 3600
    assert 0.9 < rows["entropy_16 (quick)"]["figure"] <= rows["entropy_16 (quick)"]["must"] == 1.01
    assert not any(row["ok"] for row in rows.values())
    help_text = subprocess.run([sys.executable, line[0], "--help"], capture_output=True, text=True).stdout
    for name in (
        "entropy_256", "clustered_mlp", "pruned_mlp", "rans_decode", "adaptive_decode", "pack_resnet50",
        "pack_resnet50_memory", "fuzz_bytes", "fuzz_structured", "fuzz_in_process",
    ):  # fmt: skip
        assert name in help_text
