"""What one of our ops in a file must be: options, tensors and payload that fit one another (FORMAT.md, section 6).

Inspecting, auditing and expanding all read a packed file through here, so none of them is more lenient than another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfcompress.codec import Codes, Payload
from tfcompress.convert.graph import constant, custom_name, load
from tfcompress.errors import PayloadError

__all__ = [
    "BINARY_CONV_2D",
    "BINARY_FULLY_CONNECTED",
    "CONV_2D",
    "DECODE",
    "DEPTHWISE_CONV_2D",
    "EMBEDDING",
    "FULLY_CONNECTED",
    "check_op",
    "first_packed_op",
    "options_of",
    "payloads",
]

CONV_2D, FULLY_CONNECTED, EMBEDDING, DECODE = "TfcConv2D", "TfcFullyConnected", "TfcEmbedding", "TfcDecode"
DEPTHWISE_CONV_2D = "TfcDepthwiseConv2D"
# The weights are signs times scales, and x is -1 or 1.
BINARY_CONV_2D, BINARY_FULLY_CONNECTED = "TfcBinaryConv2D", "TfcBinaryFullyConnected"
VERSION = 1
ACTIVATIONS = (0, 1, 3)  # none, ReLU, ReLU6
_AT_LEAST_1 = range(1, 256)
# The options of each op after its version, with the values that each may have.
_DENSE_FIELDS: dict[str, Any] = {"activation": ACTIVATIONS, "keep_num_dims": (0, 1)}
_CONV_FIELDS: dict[str, Any] = {
    "activation": ACTIVATIONS,
    "padding": (0, 1),
    "stride_h": _AT_LEAST_1,
    "stride_w": _AT_LEAST_1,
    "dilation_h": _AT_LEAST_1,
    "dilation_w": _AT_LEAST_1,
}
FIELDS: dict[str, dict[str, Any]] = {
    FULLY_CONNECTED: _DENSE_FIELDS,
    BINARY_FULLY_CONNECTED: _DENSE_FIELDS,
    CONV_2D: _CONV_FIELDS,
    BINARY_CONV_2D: _CONV_FIELDS,
    DEPTHWISE_CONV_2D: {**_CONV_FIELDS, "multiplier": _AT_LEAST_1},
    EMBEDDING: {},
    DECODE: {},
}
RANKS = {FULLY_CONNECTED: 2, BINARY_FULLY_CONNECTED: 2, CONV_2D: 4, BINARY_CONV_2D: 4, DEPTHWISE_CONV_2D: 4}
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int4": schema.TensorType.INT4,
    "float16": schema.TensorType.FLOAT16,
}


def first_packed_op(tflite: bytes) -> str | None:
    """Name of the first of our ops in a file; None for a file that is not packed.

    Raises:
        InvalidInputError: The bytes are no undamaged .tflite file.
    """
    model = load(tflite)
    names = (custom_name(model, operator) for subgraph in model.subgraphs for operator in subgraph.operators)
    return next((name for name in names if name in FIELDS), None)


def payloads(model: Any) -> Iterator[tuple[Any, Any, bytes]]:
    """Every (subgraph, custom op, payload) of a packed model.

    Raises:
        PayloadError: One of our ops has no constant payload.
    """
    positions = {name: 0 if name == DECODE else 1 for name in FIELDS}
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            name = custom_name(model, operator)
            if name not in positions:
                continue
            inputs, outputs = operator.inputs[: positions[name] + 1], operator.outputs
            if len(inputs) <= positions[name] or len(outputs) != 1 or min(*inputs, *outputs) < 0:
                raise PayloadError(
                    f"{name} must have {positions[name] + 1} or more inputs and one output",
                    f"{len(operator.inputs)} inputs, {len(outputs)} outputs",
                    "Pack the model anew",
                )
            tensor = subgraph.tensors[int(inputs[-1])]
            value = constant(model, tensor) if tensor.type == schema.TensorType.UINT8 else None
            if value is None:
                raise PayloadError(f"{name} must read a constant payload", "none", "Pack the model anew")
            yield subgraph, operator, value.tobytes()


def options_of(model: Any, operator: Any) -> dict[str, int]:
    """The options of one of our ops, by name.

    Raises:
        PayloadError: They are of another version, too many or too few, or one has a value that it cannot have.
    """
    name = custom_name(model, operator) or ""
    given = [] if operator.customOptions is None else [int(field) for field in operator.customOptions]
    fields = FIELDS[name]
    version = max(model.operatorCodes[operator.opcodeIndex].version, given[0] if given else 0)
    if version > VERSION:
        raise PayloadError(f"{name} must be of version {VERSION}", f"version={version}", "Use a newer tfcompress")
    _require(
        len(given) == 1 + len(fields) and given[0] == VERSION, name, f"{1 + len(fields)} options of version 1", given
    )
    options = dict(zip(fields, given[1:], strict=True))
    for field, value in options.items():
        _require(value in fields[field], name, f"an option {field} that exists", f"{field}={value}")
    return options


def check_op(model: Any, subgraph: Any, operator: Any, held: Payload) -> None:
    """Proves that an op, its options, its tensors and its payload fit one another.

    Raises:
        PayloadError: They do not; the message names the op and the field.
    """
    name = custom_name(model, operator) or ""
    options = options_of(model, operator)
    weight, output = held.weight, subgraph.tensors[int(operator.outputs[0])]
    if name == DECODE:
        _require(len(operator.inputs) == 1, name, "one input", f"{len(operator.inputs)} inputs")
        _require(held.bias is None, name, "a payload without bias", "bias inside")
        shape = _shape(output)
        _require(
            math.prod(shape) == math.prod(weight.shape), name, f"an output of {math.prod(weight.shape)} elements", shape
        )
        _require(output.type == _TYPES[weight.dtype], name, f"an output of type {weight.dtype}", f"type {output.type}")
        return
    fits = isinstance(weight, Codes) and weight.dtype == "float32" and not weight.block
    _require(fits, name, "a float32 payload of codes without blocks", f"{weight.encoding} of {weight.dtype}")
    axis = getattr(weight, "channel_axis", None)
    depthwise = name == DEPTHWISE_CONV_2D
    where = "last" if depthwise else "first"
    _require(axis in (None, 3 if depthwise else 0), name, f"scales along the {where} axis", f"axis={axis}")
    rank = RANKS.get(name, len(weight.shape))
    _require(len(weight.shape) == rank, name, f"a weight of rank {rank}", weight.shape)
    if name in (BINARY_CONV_2D, BINARY_FULLY_CONNECTED):
        _require(weight.encoding == "binary", name, "a payload of signs", weight.encoding)
    ins = weight.shape[-1]
    if depthwise:
        _require(weight.shape[0] == 1, name, "a weight of [1, height, width, out]", weight.shape)
        good = weight.shape[3] % options["multiplier"] == 0
        _require(good, name, "a multiplier that divides the channels", f"multiplier={options['multiplier']}")
        ins //= options["multiplier"]
    _check_input(name, subgraph.tensors[int(operator.inputs[0])], ins)
    _check_bias(name, subgraph, operator, held)


def _check_input(name: str, x: Any, channels: int) -> None:
    index = name == EMBEDDING
    wanted = schema.TensorType.INT32 if index else schema.TensorType.FLOAT32
    _require(x.type == wanted, name, f"an input of type {'int32' if index else 'float32'}", f"type {x.type}")
    if RANKS.get(name) == 4 and len(_shape(x)) == 4 and _shape(x)[3] > 0:
        # As the delegate: grouped convolutions stay builtin, behind a TfcDecode.
        _require(_shape(x)[3] == channels, name, f"{channels} input channels", f"channels={_shape(x)[3]}")


def _check_bias(name: str, subgraph: Any, operator: Any, held: Payload) -> None:
    index = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
    most = 3 if name != EMBEDDING else 2
    _require(len(operator.inputs) <= most, name, f"at most {most} inputs", f"{len(operator.inputs)} inputs")
    _require(name != EMBEDDING or held.bias is None, name, "a payload without bias", "bias inside")
    if index < 0:
        return
    _require(held.bias is None, name, "one bias", "a bias in the payload and another as input")
    bias = subgraph.tensors[index]
    outputs = held.weight.shape[3 if name == DEPTHWISE_CONV_2D else 0]
    good = bias.type == schema.TensorType.FLOAT32 and math.prod(_shape(bias)) == outputs
    _require(good, name, f"a float32 bias of {outputs} elements", f"shape={_shape(bias)}")


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def _require(good: bool, name: str, what: str, received: object) -> None:
    if not good:
        raise PayloadError(f"{name} must have {what}", f"{received}", "Pack the model anew")
