"""Size, quality, latency and memory of finished files, and sensitivity of models, as frozen values."""

from tfcompress.measure.measurement import Measurement, activation_error, measure, paired_drop
from tfcompress.measure.metric import Direction, Metric, as_metric
from tfcompress.measure.predictor import Predictor, leaves
from tfcompress.measure.sensitivity import Sensitivity, SensitivityRow, Standing, Suggestion, Technique
from tfcompress.measure.tuning import Tuner, TuningRow

__all__ = [
    "Direction",
    "Measurement",
    "Metric",
    "Predictor",
    "Sensitivity",
    "SensitivityRow",
    "Standing",
    "Suggestion",
    "Technique",
    "Tuner",
    "TuningRow",
    "activation_error",
    "as_metric",
    "leaves",
    "measure",
    "paired_drop",
]
