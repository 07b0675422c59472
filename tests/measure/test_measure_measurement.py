import json

import numpy as np
import pytest

from tfcompress.measure import Measurement, as_metric, measure, paired_drop


def test_two_files_side_by_side(classifier):
    batches = [(np.eye(3), np.array([0, 1, 0]))]
    (first, second), scores = measure([classifier, classifier], lambda: batches, as_metric(), rounds=3)
    assert first.value == second.value == pytest.approx(2 / 3)
    assert first.bytes == classifier.stat().st_size
    assert first.speedup == 1.0
    assert first.latency_ms > 0
    assert second.peak_ram_bytes > 0
    np.testing.assert_array_equal(scores[0], [1, 1, 0])


def test_json_names_the_metric():
    fields = json.loads(json.dumps(Measurement(10, "mae", 0.5, "min", 1.0, 100).to_json()))
    assert fields["mae"] == 0.5
    assert fields["metric"] == "mae"
    assert "value" not in fields


def test_paired_drop_and_its_standard_error():
    before, after = np.array([1.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    drop, error = paired_drop(before, after)
    assert drop == 0.25
    assert error == pytest.approx(np.std([0, 1, 0, 0], ddof=1) / 2)
    assert paired_drop(before[:1], after[:1]) == (0.0, 0.0)
