"""The program `tfcompress` and its sub-commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tfcompress import __version__
from tfcompress.cli import file_commands, measuring_commands, training_commands
from tfcompress.cli.console import native_noise_hidden, reports_errors

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 fine · 1 a broken promise or budget · 2 bad input or usage · 3 a fault of tfcompress.",
)

for _command in (
    training_commands.demo,
    training_commands.plan,
    training_commands.compress,
    file_commands.convert,
    file_commands.pack,
    file_commands.expand,
    file_commands.inspect,
    file_commands.audit,
    measuring_commands.benchmark,
    measuring_commands.evaluate,
):
    app.command()(reports_errors(_command))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tfcompress {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Compress Keras models into .tflite files that are really smaller, really faster, and proven so."""


def main() -> None:
    """Runs the program."""
    with native_noise_hidden():
        try:
            app(prog_name="tfcompress")
        finally:
            sys.stdout.flush()
