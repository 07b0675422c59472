"""What every command shares: JSON or text, errors as one line, quiet libraries, progress."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console, RenderableType

from tfcompress.errors import TfcompressError

__all__ = [
    "FAULT_EXIT_CODE",
    "DirectionOption",
    "JsonOption",
    "emit",
    "native_noise_hidden",
    "reports_errors",
    "training_progress",
]

P = ParamSpec("P")
R = TypeVar("R")

FAULT_EXIT_CODE = 3

DirectionOption = Annotated[Literal["max", "min"] | None, typer.Option(help="Which values of the metric are better.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to stdout.")]


def emit(value: Any, as_json: bool, text: RenderableType | Callable[[], RenderableType]) -> None:
    """Prints a result to stdout: its JSON form, or a table or line for people."""
    if as_json:
        typer.echo(json.dumps(value, indent=2))
        return
    # A pipe has no width of its own; what is cut or wrapped there can not be searched.
    console = Console(width=None if sys.stdout.isatty() else 240, highlight=False)
    console.print(text() if callable(text) else text, soft_wrap=isinstance(text, str))


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turns every error of a command into one line on stderr and the documented exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        _quiet_libraries()
        try:
            return command(*args, **kwargs)
        except TfcompressError as error:
            _fail(str(error), error.exit_code)
        except (typer.Exit, typer.Abort, KeyboardInterrupt):
            raise
        except Exception as error:
            if os.environ.get("TFC_DEBUG"):
                raise
            _fail(f"{type(error).__name__}: {error} (a fault of tfcompress; TFC_DEBUG=1 shows where)", FAULT_EXIT_CODE)

    return wrapped


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


def _quiet_libraries() -> None:
    """Keeps TensorFlow's greetings away; must run before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions and "pytest" not in sys.modules:
        warnings.simplefilter("ignore")


@contextlib.contextmanager
def native_noise_hidden() -> Iterator[None]:
    """Sends what C++ libraries print on descriptor 2 to nowhere; `sys.stderr` writes to a copy of it.

    TFC_DEBUG=1 leaves everything visible.
    """
    if os.environ.get("TFC_DEBUG"):
        yield
        return
    original, python_stderr = os.dup(2), sys.stderr
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        sys.stderr = os.fdopen(os.dup(original), "w", buffering=1)
        os.dup2(null, 2)
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = python_stderr
        os.dup2(original, 2)
        os.close(original)
        os.close(null)


@contextlib.contextmanager
def training_progress() -> Iterator[Callable[[int, int, dict[str, float]], None] | None]:
    """A progress bar on stderr for `compress(on_step=...)`; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task("training", total=None, loss="")

        def on_step(step: int, total: int, logs: dict[str, float]) -> None:
            loss = f"loss {logs['loss']:.4f}" if "loss" in logs else ""
            progress.update(task, completed=step, total=total, loss=loss)

        yield on_step
