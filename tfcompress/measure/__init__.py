"""Size, quality, latency and memory of finished files, as frozen values."""

from tfcompress.measure.measurement import Measurement, activation_error, measure, paired_drop
from tfcompress.measure.metric import Direction, Metric, as_metric
from tfcompress.measure.predictor import Predictor, leaves

__all__ = [
    "Direction",
    "Measurement",
    "Metric",
    "Predictor",
    "activation_error",
    "as_metric",
    "leaves",
    "measure",
    "paired_drop",
]
