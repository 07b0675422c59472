"""A .tflite file's outputs over whole batches, through the delegate."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfcompress.errors import InvalidInputError
from tfcompress.runtime import Interpreter

__all__ = ["Predictor", "leaves"]


def leaves(structure: Any) -> list[np.ndarray]:
    """The arrays of a nested structure in Keras' order: lists by position, mappings by sorted key."""
    if isinstance(structure, Mapping):
        return [leaf for key in sorted(structure) for leaf in leaves(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in leaves(part)]
    return [np.asarray(structure)]


class Predictor:
    """Runs one file on batches; the graph is resized to each batch where its shapes allow that.

    Args:
        path: The `.tflite` file, packed or plain.
        num_threads: Threads of the interpreter.

    Raises:
        InvalidInputError: The file is missing or damaged.
    """

    def __init__(self, path: str | os.PathLike[str], num_threads: int = 1) -> None:
        """Opens the file."""
        self._interpreter = Interpreter(model_path=path, num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._inputs, self._outputs = _named_details(self._interpreter)
        self._batch = 0
        self._is_static = any(detail["shape_signature"][:1].tolist() != [-1] for detail in self._inputs.values())

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in the file's signature, in order."""
        return tuple(self._outputs)

    def __call__(self, x: Any) -> Any:
        """Outputs for one batch.

        Args:
            x: An array, a list or a mapping of arrays, batch first.

        Returns:
            One float array, or a list of arrays in the order of the signature.

        Raises:
            InvalidInputError: The number, names or shapes of the arrays do not fit the file.
        """
        arrays = self._arranged(x)
        size = len(next(iter(arrays.values())))
        step = next(iter(self._inputs.values()))["shape"][0] if self._is_static else size
        if size % step:
            raise InvalidInputError(
                f"a batch must be a multiple of the file's fixed batch, {step}", f"batch={size}", "Convert with batch 1"
            )
        parts = [self._run({k: v[i : i + step] for k, v in arrays.items()}) for i in range(0, size, step)]
        joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return joined[0] if len(joined) == 1 else joined

    def over(self, batches: Iterable[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Labels and outputs of a whole data set, concatenated; labels keep their structure.

        Args:
            batches: Pairs (x, y).
        """
        labels, outputs = [], []
        for x, y in batches:
            labels.append(y)
            outputs.append(self(x))
        if not outputs:
            raise InvalidInputError("test data must hold at least one batch", "0 batches", "Give test data")
        return _concatenated(labels), _concatenated(outputs)

    def _arranged(self, x: Any) -> dict[str, np.ndarray]:
        """Arrays by the file's input names."""
        if isinstance(x, Mapping) and set(x) == set(self._inputs):
            arrays = {name: np.asarray(x[name]) for name in self._inputs}
        else:
            flat = leaves(x)
            if len(flat) != len(self._inputs) or (isinstance(x, Mapping) and len(flat) > 1):
                received = sorted(x) if isinstance(x, Mapping) else f"{len(flat)} arrays"
                raise InvalidInputError(
                    f"inputs must be {', '.join(self._inputs)}", f"{received}", "Give one array for each"
                )
            arrays = dict(zip(self._inputs, flat, strict=True))
        for name, array in arrays.items():
            expected = self._inputs[name]["shape"][1:].tolist()
            if list(array.shape[1:]) != expected:
                raise InvalidInputError(
                    f"input '{name}' must have shape (batch, {', '.join(map(str, expected))})",
                    f"shape={array.shape}",
                    "Give data of the shape that the model was trained on",
                )
        return arrays

    def _run(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        size = len(next(iter(arrays.values())))
        if size != self._batch and not self._is_static:
            for name, array in arrays.items():
                self._interpreter.resize_tensor_input(self._inputs[name]["index"], array.shape)
            self._interpreter.allocate_tensors()
            self._batch = size
        for name, array in arrays.items():
            self._interpreter.set_tensor(
                self._inputs[name]["index"], np.ascontiguousarray(array, self._inputs[name]["dtype"])
            )
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._outputs.values()]


def _named_details(interpreter: Interpreter) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensor details by the names of the first signature, or of the tensors where there is none."""
    inputs = {detail["name"]: detail for detail in interpreter.get_input_details()}
    outputs = {detail["name"]: detail for detail in interpreter.get_output_details()}
    signatures = interpreter.get_signature_list()
    if not signatures:
        return inputs, outputs
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    return (
        {name: inputs[name] for name in sorted(inputs, key=_natural)},
        {name: outputs[name] for name in sorted(outputs, key=_natural)},
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts output_2 before output_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _concatenated(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Mapping):
        return {key: _concatenated([part[key] for part in parts]) for key in first}
    if isinstance(first, (list, tuple)):
        return [_concatenated([part[i] for part in parts]) for i in range(len(first))]
    return np.concatenate([np.asarray(part) for part in parts])
