"""Commands on files: convert, pack, expand, inspect, diff, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tfcompress.cli.console import JsonOption, emit
from tfcompress.errors import InvalidInputError

__all__ = ["audit", "convert", "diff", "expand", "inspect", "pack"]

_TENSOR_COLUMNS = (
    "op", "shape", "type", "encoding", "bits", "sparsity", "levels", "zeros", "coder", "bytes",
    "entropy", "bits_per_weight", "ram_bytes", "runs", "speedup",
)  # fmt: skip
_ASKED_COLUMNS = ("variable", "asked_sparsity", "asked_centroids", "asked_bits", "promised_zeros")
_HELD_COLUMNS = ("op", "shape", "zeros", "levels", "bits", "bytes")

TfliteArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A .tflite file.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")]
OutArgument = Annotated[Path | None, typer.Argument(metavar="[OUT]", help="The file to write; or give --out.")]
OptionalOutOption = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The file to write.")]


def convert(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A trained .keras or .h5 model.")],
    out: OutOption,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Let code inside the model file (Lambda) run.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert a Keras model to a float .tflite.

    BatchNorm is folded. This is the file that `compress` compares with.

    Exit code 2 on bad input.
    """
    from tfcompress.convert import to_float_tflite
    from tfcompress.files import load_model

    _write(out, to_float_tflite(load_model(model, unsafe=unsafe)), None, as_json)


def pack(
    file: TfliteArgument,
    target: OutArgument = None,
    out: OptionalOutOption = None,
    strip_names: Annotated[
        bool, typer.Option("--strip-names", help="Drop signatures and the names of inputs and outputs, too.")
    ] = False,
    smallest: Annotated[
        bool, typer.Option("--smallest", help="Try every coder for every weight: slower to pack and to load.")
    ] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Measure each op on this machine: by our kernel, or decoded for XNNPACK.")
    ] = False,
    allow_slower: Annotated[
        float, typer.Option(metavar="PERCENT", help="How much slower an op may get to stay small in memory, too.")
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Store the weights of a .tflite small.

    Finds the structure that the weights have, whoever trained them. No weight changes. Each op runs where it is
    faster: as a rule tells that was measured on one machine, or with --tune as measured on this one. `inspect` shows
    the choice.

    Exit code 2 on bad input, a file that is packed already included.
    """
    from tfcompress import convert
    from tfcompress.files import read_tflite

    path = _one_out(target, out)
    before = read_tflite(file)
    _refuse_packed(before, file)
    if not 0 <= allow_slower < float("inf"):
        raise InvalidInputError("allow-slower must be 0 or more percent", f"allow_slower={allow_slower}")
    content = _packed(before, smallest, tune, allow_slower / 100)
    _write(path, convert.strip_names(content) if strip_names else content, len(before), as_json)


def _packed(before: bytes, smallest: bool, tune: bool, allow_slower: float) -> bytes:
    from tfcompress import convert

    if not tune:
        return convert.pack(before, smallest=smallest, allow_slower=allow_slower)
    from tfcompress.measure import Tuner

    tuner = Tuner(lambda content: convert.pack(content, allow_slower=float("inf")), convert.predicted_speedup)
    content = convert.pack(before, smallest=smallest, allow_slower=allow_slower, speedup=tuner)
    for row in tuner.rows:
        shape = "x".join(str(size) for size in row.weight_shape)
        faster = row.speedup * (1 + allow_slower) >= 1
        typer.echo(
            f"{row.op} {shape}, {row.encoding} {row.num_bits} bits: {1e3 * row.kernel_ms:.1f} µs by our kernel, "
            f"{1e3 * row.stock_ms:.1f} µs by XNNPACK: {'our kernel' if faster else 'decoded'}",
            err=True,
        )
    return content


def _refuse_packed(content: bytes, file: Path) -> None:
    """Packing twice would gain nothing, and most likely is a mistake."""
    from tfcompress.convert.custom_ops import first_packed_op

    op = first_packed_op(content)
    if op is not None:
        raise InvalidInputError(
            "a model must be packed once", f"model='{file}' with {op} ops", "Use it as it is, or expand it first"
        )


def expand(
    file: TfliteArgument, target: OutArgument = None, out: OptionalOutOption = None, as_json: JsonOption = False
) -> None:
    """Turn a packed file back into builtin ops.

    For a runtime without the delegate; the weights stay exactly the same.

    Exit code 2 on bad input.
    """
    from tfcompress import convert
    from tfcompress.files import read_tflite

    path = _one_out(target, out)
    before = read_tflite(file)
    _write(path, convert.expand(before), len(before), as_json)


def inspect(file: TfliteArgument, as_json: JsonOption = False) -> None:
    """List the constants of a .tflite.

    Exit code 2 on bad input.
    """
    from tfcompress import convert
    from tfcompress.cli.tables import rows_table
    from tfcompress.files import read_tflite

    content = read_tflite(file)
    rows = [row.to_json() for row in convert.inspect(content)]
    emit(
        {"path": str(file), "bytes": len(content), "tensors": rows},
        as_json,
        lambda: rows_table(f"{file}, {len(content)} bytes", rows, _TENSOR_COLUMNS),
    )


def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="A .tflite file.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another .tflite file.")],
    as_json: JsonOption = False,
) -> None:
    """Show what changed from one .tflite to another.

    Per constant: encoding, bits, zeros, levels, bytes and the largest difference of its values; ops added and removed.

    Exit code 0 when the files are equal, 1 when they differ, 2 on bad input.
    """
    from tfcompress import convert
    from tfcompress.cli.tables import diff_text
    from tfcompress.files import read_tflite

    found = convert.diff(read_tflite(before), read_tflite(after))
    emit(
        {"before": str(before), "after": str(after), **found.to_json()},
        as_json,
        lambda: diff_text(str(before), str(after), found),
    )
    if not found.identical:
        raise typer.Exit(1)


def audit(
    file: TfliteArgument,
    promises: Annotated[
        Path | None, typer.Option(metavar="FILE", help="promises.json, which `compress` writes beside the model.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a packed file with its promises.

    The file is read back and decoded by both decoders, the native and the reference, which must agree.

    Without --promises only the integrity of every payload is checked. Exit code 1 when a promise is
    broken, 2 on bad input.
    """
    from tfcompress import convert
    from tfcompress.cli.tables import rows_table
    from tfcompress.files import read_tflite

    promised = None if promises is None else _promises(promises)
    verdict = convert.audit(read_tflite(file), promised)
    value = verdict.to_json()
    columns = _HELD_COLUMNS if promised is None else (*_ASKED_COLUMNS, *_HELD_COLUMNS, "kept")
    emit(value, as_json, lambda: rows_table("passed" if verdict.passed else "BROKEN", value["rows"], columns))
    for note in verdict.notes:
        typer.echo(f"note: {note}", err=True)
    if not verdict.passed:
        for failure in verdict.failures:
            typer.echo(f"error: {failure}", err=True)
        raise typer.Exit(1)


def _promises(path: Path) -> list[Any]:
    from pydantic import TypeAdapter, ValidationError

    from tfcompress.recipe import Promise

    try:
        return TypeAdapter(list[Promise]).validate_json(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(str(part) for part in fault['loc']) or 'file'}: {fault['msg']}"
    raise InvalidInputError(
        "promises must be a promises.json that `compress` wrote", f"promises='{path}' ({reason})", "Check the path"
    )


def _one_out(target: Path | None, out: Path | None) -> Path:
    """The file to write, given as second argument or as option."""
    if target is not None and out is None:
        return target
    if out is not None and target is None:
        return out
    received = "neither" if out is None else f"OUT='{target}', --out '{out}'"
    raise InvalidInputError("exactly one of OUT and --out must name the file to write", received, "Give one of them")


def _write(out: Path, content: bytes, before: int | None, as_json: bool) -> None:
    from tfcompress.files import write_file

    write_file(out, content)
    value: dict[str, Any] = {"path": str(out), "bytes": len(content)}
    text = f"{out}: {len(content)} bytes"
    if before is not None:
        value |= {"bytes_before": before, "ratio": before / len(content)}
        text += f", {before} before ({before / len(content):.2f}x)"
    emit(value, as_json, text)
