"""Distillation: a student that learns from a teacher's outputs as well as from the labels."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from tfcompress.errors import InvalidInputError
from tfcompress.train.compressed import Compressed
from tfcompress.train.outputs import output_kinds, to_logits
from tfcompress.train.steps import AdvancingModel

__all__ = ["Distiller"]


@keras.saving.register_keras_serializable(package="tfcompress")
class DistillationLoss(keras.losses.Loss):
    """Distance between a teacher's and a student's logits, one value per sample.

    - "kl": `T^2 * KL(softmax(t / T) || softmax(s / T))` (Hinton et al., 2015); for sigmoid outputs
      the same over the two classes of every unit.
    - "mse": `1/2 * ||t - s||^2` (Ba & Caruana, 2014).

    Args:
        loss: "kl" or "mse".
        temperature: T > 0; only for "kl".
        kind: "softmax", "sigmoid" or "linear": what the outputs have been through.
    """

    def __init__(self, loss: str, temperature: float, kind: str, name: str = "distillation") -> None:
        super().__init__(name=name)
        self.loss, self.temperature, self.kind = loss, temperature, kind

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Loss of each sample: teacher's output against student's."""
        teacher, student = to_logits(y_true, self.kind), to_logits(y_pred, self.kind)
        if self.loss == "mse":
            return 0.5 * tf.reduce_sum(tf.square(teacher - student), axis=-1)
        teacher, student = teacher / self.temperature, student / self.temperature
        if self.kind == "sigmoid":
            target = tf.sigmoid(teacher)
            cross = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=student)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=teacher)
            divergence = tf.reduce_sum(cross - entropy, axis=-1)
        else:
            log_teacher, log_student = tf.nn.log_softmax(teacher), tf.nn.log_softmax(student)
            divergence = tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), axis=-1)
        return self.temperature**2 * divergence


@keras.saving.register_keras_serializable(package="tfcompress")
class Distiller(AdvancingModel):
    """Trains a student on `(1 - alpha) * label loss + alpha * distillation loss`.

    The teacher is frozen and runs once per training step, with training=False; the student runs
    once. Sample weights count in both losses. `evaluate` and `predict` are the student's. Losses
    that the student adds itself (regularizers, `add_loss`) count in full.

    Softmax and sigmoid outputs are turned back into logits (log p, centred; log p - log(1 - p));
    outputs of a model that ends in neither are taken as logits. Several outputs: the sum.

    Args:
        student: The model to train; it may be compressed.
        teacher: A trained model with outputs of the same shapes.
        temperature: Softens both distributions; > 0.
        alpha: Weight of the distillation loss, 0 to 1.
        loss: "kl" or "mse", see `DistillationLoss`.
        **kwargs: `name` of a Keras model.

    Raises:
        InvalidInputError: An argument is out of range, the outputs differ, or student and teacher
            are the same object.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        *,
        temperature: float = 4.0,
        alpha: float = 0.5,
        loss: Literal["kl", "mse"] = "kl",
        **kwargs: Any,
    ) -> None:
        _check(student, teacher, temperature, alpha, loss)
        kwargs.setdefault("dtype", student.dtype_policy)
        super().__init__(autocast=False, **kwargs)
        self.student, self.teacher = student, teacher
        self.temperature, self.alpha, self.loss_kind = temperature, alpha, loss
        self._losses_by_output = [
            DistillationLoss(loss, temperature, kind) for kind in output_kinds(_plain(student), _plain(teacher))
        ]
        self.built = True

    def wrapped(self) -> tuple[Compressed, ...]:
        """The wrappers inside of the student."""
        return tuple(layer for layer in self.student._flatten_layers() if isinstance(layer, Compressed))

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The student's; the teacher is never trained, whatever its `trainable` says."""
        return self.student.trainable_variables

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The student's."""
        return self.student.trainable_weights

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The student's outputs."""
        return self.student(inputs, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The student's own loss, mixed with the distillation loss in training."""
        if not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training=training)
        extra = sum((self._aggregate_additional_loss(loss) for loss in self.losses), tf.constant(0.0))
        soft = self._distillation(x, y_pred, sample_weight)
        if self.alpha == 1 and (y is None or self._compile_loss is None):
            return soft + extra
        own = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        return (1 - self.alpha) * own + self.alpha * (soft + extra)

    def _distillation(self, x: Any, y_pred: Any, sample_weight: Any) -> tf.Tensor:
        targets = keras.tree.flatten(self.teacher(x, training=False))
        outputs = keras.tree.flatten(y_pred)
        weights = keras.tree.flatten(sample_weight) if sample_weight is not None else [None]
        if len(weights) != len(outputs):
            weights = weights[:1] * len(outputs)
        total = tf.constant(0.0)
        for loss, target, output, weight in zip(self._losses_by_output, targets, outputs, weights, strict=True):
            total += loss(tf.stop_gradient(target), output, sample_weight=weight)
        return total

    def get_config(self) -> dict[str, Any]:
        """Config: both models and the options."""
        return {
            "name": self.name,
            "student": keras.saving.serialize_keras_object(self.student),
            "teacher": keras.saving.serialize_keras_object(self.teacher),
            "temperature": self.temperature,
            "alpha": self.alpha,
            "loss": self.loss_kind,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Distiller:
        """Rebuilds both models."""
        models = {
            role: keras.saving.deserialize_keras_object(config[role], custom_objects=custom_objects)
            for role in ("student", "teacher")
        }
        return cls(**{**config, **models})


def _plain(model: keras.Model) -> keras.Model:
    return model.inner if isinstance(model, Compressed) else model


def _check(student: Any, teacher: Any, temperature: float, alpha: float, loss: str) -> None:
    if temperature <= 0:
        raise InvalidInputError("temperature must be above 0", f"temperature={temperature}")
    if not 0 <= alpha <= 1:
        raise InvalidInputError("alpha must be 0 to 1", f"alpha={alpha}")
    if loss not in ("kl", "mse"):
        raise InvalidInputError("loss must be 'kl' or 'mse'", f"loss='{loss}'")
    if student is teacher:
        raise InvalidInputError(
            "student and teacher must be two models", "the same object twice", "Give a copy as the teacher"
        )
    for role, model in (("student", student), ("teacher", teacher)):
        if not isinstance(model, keras.Model) or not model.built:
            raise InvalidInputError(
                f"the {role} must be a built Keras 3 model",
                f"{role} of type {type(model).__name__}",
                "Call it once on data, or give it an Input",
            )
    _check_outputs(_plain(student), _plain(teacher), loss)


def _check_outputs(student: keras.Model, teacher: keras.Model, loss: str) -> None:
    if not getattr(student, "outputs", None) or not getattr(teacher, "outputs", None):
        return
    shapes = [[tuple(output.shape) for output in model.outputs] for model in (student, teacher)]
    if shapes[0] != shapes[1]:
        raise InvalidInputError(
            "student and teacher must have outputs of the same shapes", f"student={shapes[0]}, teacher={shapes[1]}"
        )
    for kind, shape in zip(output_kinds(student, teacher), shapes[0], strict=True):
        if loss == "kl" and kind != "sigmoid" and shape[-1] == 1:
            raise InvalidInputError(
                "loss='kl' needs outputs of at least two classes", f"an output of shape {shape}", "Use loss='mse'"
            )
