import importlib
import json

import numpy as np
import pytest

from tfcompress.errors import InvalidInputError
from tfcompress.runtime import LoadFigures, benchmark, load_figures, peak_memory

# The package's attribute of this name is the function.
module = importlib.import_module("tfcompress.runtime.benchmark")


def test_figures_of_two_files(float_path):
    seen = []
    result = benchmark([float_path, float_path], rounds=4, warmup=1, memory=False, on_round=seen.append)
    assert seen == [1, 2, 3, 4]
    first, second = result.timings
    assert first.speedup == 1.0
    assert first.bytes == second.bytes == float_path.stat().st_size
    for timing in result.timings:
        assert 0 < timing.latency_low_ms <= timing.latency_ms <= timing.latency_high_ms
        assert timing.wall_ms > 0
        assert timing.peak_ram_bytes is None
    assert json.loads(json.dumps(result.to_json()))["timings"][1]["path"] == str(float_path)


def test_runs_are_interleaved_and_rotate(float_path, monkeypatch):
    order = []

    def sample(self):
        order.append(self.name)
        return 1.0, 1.0

    made = iter("ab")
    original = module._Runner.__init__

    def init(self, *args):
        original(self, *args)
        self.name = next(made)

    monkeypatch.setattr(module._Runner, "__init__", init)
    monkeypatch.setattr(module._Runner, "sample", sample)
    benchmark([float_path, float_path], rounds=3, warmup=0, memory=False)
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_ratio_is_the_median_over_rounds():
    times, first = np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, 4.0])
    load = LoadFigures(peak_ram_bytes=7, anonymous_bytes=5, load_ms=2.0, first_ms=1.0)
    found = module._timing(__file__, times, 2 * times, first, load)
    assert found.speedup == 2.0
    assert found.latency_ms == 2.0
    assert found.peak_ram_bytes == 7 and found.load == load
    assert (found.wall_low_ms, found.wall_ms, found.wall_high_ms) == (3.0, 4.0, 6.0)


def test_memory_of_a_model_grows_with_its_weights(tmp_path, float_path):
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((1024,)), keras.layers.Dense(2048)])
    large = tmp_path / "large.tflite"
    large.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    assert peak_memory(large) - peak_memory(float_path) > 8_000_000
    found = load_figures(large)
    assert found.anonymous_bytes < found.peak_ram_bytes
    assert found.load_ms > 0 and found.first_ms > 0


@pytest.mark.parametrize("options", [{"rounds": 0}, {"num_threads": 0}])
def test_numbers_that_make_no_benchmark(float_path, options):
    with pytest.raises(InvalidInputError, match="must have at least one file"):
        benchmark([float_path], **options)


def test_no_files():
    with pytest.raises(InvalidInputError, match="must have at least one file"):
        benchmark([])


def test_memory_of_a_broken_file(tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"nothing")
    with pytest.raises(InvalidInputError, match="process of its own"):
        peak_memory(path)
