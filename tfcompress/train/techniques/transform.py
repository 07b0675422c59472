"""State and forward maths of one compressed variable: `w_hat = quantize(codebook(mask * w))`."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcompress.recipe import Quantization
from tfcompress.train.scope import SubstituteScope, full_precision
from tfcompress.train.targets import Target
from tfcompress.train.techniques.pruning import Pruner
from tfcompress.train.techniques.quantizing import Make, Quantizer, Read, make_quantizer
from tfcompress.train.techniques.regularizing import Noise
from tfcompress.train.techniques.sharing import FixedValues, LearnedValues
from tfcompress.weights import fused, is_large

__all__ = ["Transform"]


class Transform:
    """The compression of one variable.

    The forward value is a pure function of the variable and of the state kept here. The state
    changes in `advance` only, once per optimizer update, never in a forward pass.

    Args:
        variable: The shadow weight.
        target: What is asked.
        make: Makes a state variable of the owner: (name, shape, initial value, trainable) -> variable.
    """

    def __init__(self, variable: keras.Variable, target: Target, make: Make) -> None:
        self.variable, self.target = variable, target
        self._shape = tuple(int(size) for size in variable.shape)
        self.pruner = None if target.sparsity is None else Pruner(target, variable, make)
        self.mask = None if self.pruner is None else self.pruner.mask
        self.coder = self._make_coder(make)
        self._forward, self._backward = fused(self._compute_from), fused(self._gradients)

    def _make_coder(self, make: Make) -> FixedValues | LearnedValues | Quantizer | None:
        """What gives the weight its few values: shared values (quantized themselves if asked), or a quantizer."""
        codebook, quantization = self.target.codebook, self.target.quantization
        rest = [axis for axis in range(len(self._shape)) if axis not in self.target.channel_axes]
        if codebook is not None and codebook.values is not None:
            return FixedValues(codebook)

        def quantizer(axes: list[int], shape: tuple[int, ...]) -> Quantizer:
            assert quantization is not None
            return make_quantizer(quantization, axes, shape, make)

        if codebook is not None:
            inner = None if quantization is None else quantizer
            return LearnedValues(codebook, self.target.sparsity is not None, rest, inner, make)
        if quantization is None:
            return None
        axes = self._scale_axes(quantization, rest)
        return quantizer(axes, tuple(1 if axis in axes else size for axis, size in enumerate(self._shape)))

    def _scale_axes(self, quantization: Quantization, rest: list[int]) -> list[int]:
        return list(range(len(self._shape))) if quantization.scale_granularity == "tensor" else rest

    @property
    def trained(self) -> list[keras.Variable]:
        """State that the optimizer trains: gates, centroids, learned scales and magnitudes."""
        gates = [] if self.pruner is None else self.pruner.trained
        return gates if self.coder is None else [*gates, *self.coder.trained]

    @property
    def state(self) -> dict[str, keras.Variable]:
        """All state variables by name."""
        found = {} if self.pruner is None else dict(self.pruner.state)
        for technique in ("codebook", "quantization"):
            found |= self.state_of(technique)
        return found

    def state_of(self, technique: str) -> dict[str, keras.Variable]:
        """State variables of the "codebook" or of the "quantization", by name."""
        of_codebook = {} if self.target.codebook is None or self.coder is None else self.coder.state
        if technique == "codebook":
            return of_codebook
        quantizer = getattr(self.coder, "quantizer", None) if self.target.codebook is not None else self.coder
        return {} if quantizer is None else quantizer.state

    def compute(self, weight: tf.Tensor, *trained: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        """The compressed weight.

        Args:
            weight: The shadow weight, float32.
            *trained: Values of `trained`; the variables themselves by default.
            step: Number of optimizer updates done, in training, where gates are random; else None.

        Returns:
            w_hat, float32, differentiable in all arguments.
        """
        trained = trained or tuple(tf.convert_to_tensor(variable.value) for variable in self.trained)
        noise = None if self.pruner is None else self.pruner.draw(step)
        if not is_large(weight):
            return self._compute(weight, trained, noise)
        state = [tf.convert_to_tensor(variable.value) for variable in self.state.values()]

        @tf.custom_gradient
        def compressed(weight: tf.Tensor, *trained: tf.Tensor) -> tuple:
            def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
                if not self._is_straight:
                    return self._backward(weight, trained, noise, state, upstream)
                # As a result of the compiled function it would be a copy.
                return [upstream, *(self._backward(weight, trained, noise, state, upstream) if trained else [])]

            return self._forward(weight, trained, noise, state), gradient

        return compressed(weight, *trained)

    @property
    def _is_straight(self) -> bool:
        """Whether dL/dw = dL/dw_hat."""
        return self.pruner is None and self.coder is not None and self.coder.straight_through

    def _compute(self, weight: tf.Tensor, trained: Sequence[tf.Tensor], noise: Noise | None) -> tf.Tensor:
        values = dict(zip((id(variable) for variable in self.trained), trained, strict=True))
        read: Read = lambda variable: values.get(id(variable), variable.value)  # noqa: E731
        mask = self.mask_or_ones(weight)
        if self.pruner is not None:
            weight = self.pruner.prune(weight, read, noise)
        if self.coder is None:
            return weight
        coded = self.coder.compute(weight, mask, read)
        return coded if self.pruner is None else self.pruner.masked(coded)

    def _compute_from(
        self,
        weight: tf.Tensor,
        trained: Sequence[tf.Tensor],
        noise: Noise | None,
        state: Sequence[tf.Tensor],
    ) -> tf.Tensor:
        """`_compute` with the state given, so that what is compiled reads no variable."""
        given = dict(zip((id(variable) for variable in self.state.values()), state, strict=True))
        with SubstituteScope(given, lambda variable: given[id(variable)]):
            return self._compute(weight, trained, noise)

    def _gradients(
        self,
        weight: tf.Tensor,
        trained: Sequence[tf.Tensor],
        noise: Noise | None,
        state: Sequence[tf.Tensor],
        upstream: tf.Tensor,
    ) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([weight, *trained])
            value = self._compute_from(weight, trained, noise, state)
        wanted = [*([] if self._is_straight else [weight]), *trained]
        return tape.gradient(value, wanted, output_gradients=upstream, unconnected_gradients="zero")

    def mask_or_ones(self, weight: tf.Tensor) -> tf.Tensor:
        """The mask as numbers: float32, 1 where the weight stays; 1 everywhere without pruning."""
        return tf.ones_like(weight) if self.mask is None else tf.cast(self.mask.value, tf.float32)

    def start(self) -> None:
        """Fills scales and centroids from the masked weight as it is before training."""
        if self.coder is not None:
            self.coder.start(*self._masked())

    def _masked(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The pruned weight and its mask, as they are now."""
        weight = full_precision(self.variable)
        pruned = weight if self.pruner is None else self.pruner.prune(weight, lambda variable: variable.value)
        return pruned, self.mask_or_ones(weight)

    def advance(self, step: tf.Tensor, updated: tf.Tensor) -> None:
        """Lets scales and centroids follow the weights and the mask after one optimizer update.

        Args:
            step: Number of updates done, this one included.
            updated: Boolean; false when the optimizer only accumulated gradients.
        """
        if self.coder is None:
            return
        if isinstance(self.coder, LearnedValues) and self.pruner is not None and not self.target.mask_frozen:
            self.coder.follow_mask(self._masked, self.pruner.renews_mask(step))
        self.coder.advance(*self._masked(), updated)

    def value(self) -> np.ndarray:
        """w_hat as an array."""
        return self.compute(full_precision(self.variable)).numpy()
