"""What a wrapped model holds now, layer by layer."""

from __future__ import annotations

import math

import keras
import numpy as np

from tfcompress.train.apply import wrappers
from tfcompress.train.plan import text_table

__all__ = ["summary"]


def summary(model: keras.Model) -> str:
    """A table of the compressed weights as they would be finalized now.

    Bits are those of one code (32 without bits or a codebook) and bytes are weights times bits: an
    upper bound of what is packed, where zeros and frequent codes cost less.

    Args:
        model: The result of `apply`, or a model that contains it.

    Raises:
        InvalidInputError: Nothing in the model is compressed.
    """
    lines = []
    for wrapper in wrappers(model):
        for transform in wrapper.transforms:
            target, weight = transform.target, transform.value()
            num_bits = 32
            if target.codebook is not None:
                num_bits = math.ceil(math.log2(target.codebook.size))
            elif target.quantization is not None:
                num_bits = target.quantization.num_bits
            nonzero = int(np.count_nonzero(weight))
            lines.append(
                (
                    target.variable,
                    str(weight.size),
                    f"{nonzero} ({nonzero / weight.size:.1%})",
                    str(num_bits),
                    str(math.ceil(weight.size * num_bits / 8)),
                )
            )
    return text_table(("variable", "weights", "non-zero", "bits", "bytes"), lines)
