"""Results as tables for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tfcompress.measure import Measurement
from tfcompress.report.result import Result
from tfcompress.report.wording import asked, bytes_text, drop_text, latency_text, shipped, value_text

__all__ = ["result_table"]


def result_table(result: Result) -> RenderableType:
    """The headline figures, the layers, and the verdict of the audit."""
    figures = Table(title=f"{result.model_name}, recipe '{result.recipe.name}'", title_justify="left")
    for heading in ("", "float .tflite", "compressed", ""):
        figures.add_column(heading, justify="left" if heading == "" else "right")
    before, after = result.baseline, result.compressed
    figures.add_row("file", bytes_text(before.bytes), bytes_text(after.bytes), f"{result.ratio:.1f}x smaller")
    figures.add_row(after.metric, value_text(before), value_text(after), f"drop {drop_text(result)}")
    figures.add_row("latency, 1 thread", latency_text(before.latency_ms), latency_text(after.latency_ms), _speed(after))
    figures.add_row("peak memory", bytes_text(before.peak_ram_bytes), bytes_text(after.peak_ram_bytes), "")
    return Group(figures, _layers(result), _verdict(result))


def _speed(after: Measurement) -> str:
    return f"{after.speedup:.2f}x faster" if after.speedup >= 1 else f"{1 / after.speedup:.2f}x slower"


def _layers(result: Result) -> Table:
    table = Table(title="asked and shipped, per variable", title_justify="left")
    for heading in ("variable", "asked", "shipped"):
        table.add_column(heading, overflow="fold")
    for heading in ("bytes", "bits/weight", "RAM", "kept"):
        table.add_column(heading, justify="right")
    marks = {True: Text("yes", "green"), False: Text("NO", "bold red"), None: Text("–")}
    for layer in result.layers:
        bits = layer.bits_per_weight
        table.add_row(
            layer.variable,
            asked(layer),
            shipped(layer),
            bytes_text(layer.bytes),
            "–" if bits is None else f"{bits:.2f}",
            bytes_text(layer.ram_bytes),
            marks[layer.kept],
        )
    return table


def _verdict(result: Result) -> RenderableType:
    lines = [
        Text("audit: every promise is kept in the finished file", "green")
        if result.audit_passed
        else Text("audit: broken promises", "bold red")
    ]
    lines += [Text(f"  {failure}", "red") for failure in (*result.audit_failures, *result.budget_failures)]
    return Group(*lines)
