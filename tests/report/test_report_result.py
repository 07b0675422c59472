import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console

from tfcompress.recipe import Budget, parse_recipe
from tfcompress.report import Histogram, environment, result_files, result_table
from tfcompress.report.wording import bytes_text, drop_text, latency_text, percent


def test_json_has_the_promised_fields(result):
    fields = json.loads(json.dumps(result.to_json()))
    for side in ("baseline", "compressed"):
        assert {"bytes", "accuracy", "latency_ms", "peak_ram_bytes"} <= set(fields[side])
    assert fields["audit"]["passed"] is True
    assert fields["ratio"] == pytest.approx(90212 / 6012)
    assert fields["layers"][0]["bits_per_weight"] == pytest.approx(8 * 120 / 144)
    assert fields["layers"][2]["bits_per_weight"] is None
    assert fields["activation_error"] == 0.0123
    assert "packed" not in fields


def test_budget_failures_name_limit_and_value(result):
    limits = Budget(size_bytes=6000, latency_ms=1.0, metric_drop=0.001)
    failures = dataclasses.replace(result, budget=limits).budget_failures
    assert [failure.split()[0] for failure in failures] == ["size_bytes", "metric_drop"]
    assert dataclasses.replace(result, budget=Budget(size_bytes=6012)).budget_failures == ()
    assert result.budget_failures == ()


def test_the_folder_s_files(result):
    files = result_files(result)
    assert sorted(files) == ["model.tflite", "promises.json", "recipe.yaml", "report.html", "result.json"]
    assert parse_recipe(files["recipe.yaml"]) == result.recipe
    assert files["model.tflite"] == b"packed"


def test_histogram_leaves_zeros_out_and_shares_its_bins():
    histogram = Histogram.of(np.array([-1.0, 0.0, 0.4]), np.array([0.0, 0.0, 0.5]), bins=4)
    assert (histogram.low, histogram.high) == (-1.0, 1.0)
    assert histogram.before == (1, 0, 1, 0)
    assert histogram.after == (0, 0, 0, 1)
    assert sum(Histogram.of(np.zeros(3), np.zeros(3)).before) == 0


def test_the_terminal_table(result):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(result_table(result))
    text = console.export_text()
    for part in ("15.0x smaller", "drop 0.30 ± 0.20 points", "1.25x faster", "70.0 % zeros, 12 levels, 4 bits", "kept"):
        assert part in text


def test_wording(result):
    assert [bytes_text(n) for n in (None, 12, 1536, 3 * 2**20)] == ["–", "12 B", "1.5 KB", "3.00 MB"]
    assert [latency_text(t) for t in (0.0055, 12.3456)] == ["5.5 µs", "12.35 ms"]
    assert percent(None) == "–"
    regression = dataclasses.replace(result.compressed, metric="mae")
    assert drop_text(dataclasses.replace(result, compressed=regression, drop_error=None)) == "0.00"


def test_the_environment_names_processor_and_versions():
    found = environment()
    assert {"CPU", "System", "tfcompress", "Python", "Keras", "LiteRT"} <= set(found)
    assert all(found.values())
