import numpy as np
import pytest

from tfcompress.measure import Measurement
from tfcompress.recipe import preset
from tfcompress.report import Histogram, LayerReport, Result


@pytest.fixture
def result() -> Result:
    """A small result by hand: two compressed layers, one left alone."""
    random = np.random.default_rng(0)
    weight = random.normal(0, 0.1, 2000)
    sparse = np.round(np.where(np.abs(weight) > 0.1, weight, 0) * 20) / 20
    histogram = Histogram.of(weight, sparse)
    layers = (
        LayerReport(
            "conv", "conv/kernel", (3, 3, 1, 16), 144, 0.7, None, 4, 0.7, 12, 4, 120, 400, "TfcConv2D", True,
            histogram=histogram,
        ),
        LayerReport(
            "dense<b>", "dense<b>/kernel", (128, 100), 12800, 0.7, None, 4, 0.7, 14, 4, 3100, 6400,
            "TfcFullyConnected", True, histogram=histogram,
        ),
        LayerReport("odd", "odd/kernel", (3, 3), 9, reason="the recipe exempts it"),
    )  # fmt: skip
    return Result(
        model_name="digits_cnn",
        recipe=preset("deep"),
        baseline=Measurement(90212, "accuracy", 0.985, "max", 0.0055, 4_000_000),
        compressed=Measurement(6012, "accuracy", 0.982, "max", 0.0044, 3_700_000, 1.25),
        drop=0.003,
        drop_error=0.002,
        activation_error=0.0123,
        layers=layers,
        audit_passed=True,
        audit_failures=(),
        budget=None,
        history=(0.8, 0.4, 0.2),
        seconds=12.5,
        environment={"CPU": "A processor", "tfcompress": "0.1.0", "Keras": "3.15.1"},
        packed=b"packed",
        float_file=b"float",
    )
