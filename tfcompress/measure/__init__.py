"""Size, quality, latency and memory of finished files, as frozen values."""

from tfcompress.measure.measurement import Measurement, measure, paired_drop
from tfcompress.measure.metric import Direction, Metric, as_metric
from tfcompress.measure.predictor import Predictor, leaves

__all__ = ["Direction", "Measurement", "Metric", "Predictor", "as_metric", "leaves", "measure", "paired_drop"]
