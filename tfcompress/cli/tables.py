"""Tables that only the command line shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from tfcompress.report.wording import bytes_text, latency_text
from tfcompress.runtime import Benchmark

__all__ = ["benchmark_table", "rows_table"]


def benchmark_table(benchmark: Benchmark) -> Table:
    """Files side by side; speeds are against the first."""
    title = f"{benchmark.rounds} interleaved rounds, {benchmark.num_threads} thread(s)"
    table = Table(title=title, title_justify="left")
    table.add_column("file", overflow="fold")
    for heading in ("bytes", "median", "quartiles", "speed", "peak memory"):
        table.add_column(heading, justify="right")
    for timing in benchmark.timings:
        table.add_row(
            timing.path,
            bytes_text(timing.bytes),
            latency_text(timing.latency_ms),
            f"{latency_text(timing.latency_low_ms)} – {latency_text(timing.latency_high_ms)}",
            f"{timing.speedup:.2f}x",
            bytes_text(timing.peak_ram_bytes),
        )
    return table


def rows_table(title: str, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Table:
    """Some columns of JSON rows as a table; `--json` has them all."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        is_numeric = all(isinstance(row[name], (int, float, type(None))) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if is_numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "x".join(str(part) for part in value)
    return str(value)
