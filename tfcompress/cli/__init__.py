"""The command line: one function per sub-command."""

from tfcompress.cli.app import app, main

__all__ = ["app", "main"]
