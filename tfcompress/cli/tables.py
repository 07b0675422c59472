"""Tables that only the command line shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table

from tfcompress.report.wording import bytes_text, latency_text
from tfcompress.runtime import Benchmark, Profile

if TYPE_CHECKING:
    from tfcompress.convert import Difference, TensorInfo

__all__ = ["benchmark_table", "diff_text", "profile_table", "rows_table"]


def benchmark_table(benchmark: Benchmark) -> Table:
    """Files side by side, medians with quartiles; speeds are against the first."""
    title = f"{benchmark.rounds} interleaved rounds, {benchmark.num_threads} thread(s)"
    table = Table(title=title, title_justify="left")
    table.add_column("file", overflow="fold")
    clock = "CPU time" if benchmark.num_threads == 1 else "wall time"
    for heading in ("bytes", clock, "wall time", "speed", "load", "kept", "peak"):
        table.add_column(heading, justify="right")
    for timing in benchmark.timings:
        load = timing.load
        table.add_row(
            timing.path,
            bytes_text(timing.bytes),
            _spread(timing.latency_ms, timing.latency_low_ms, timing.latency_high_ms),
            _spread(timing.wall_ms, timing.wall_low_ms, timing.wall_high_ms),
            f"{timing.speedup:.2f}x",
            "–" if load is None else latency_text(load.load_ms),
            bytes_text(None if load is None else load.anonymous_bytes),
            bytes_text(timing.peak_ram_bytes),
        )
    return table


def _spread(median: float, low: float, high: float) -> str:
    return f"{latency_text(median)}\n({latency_text(low)} – {latency_text(high)})"


def profile_table(found: Profile) -> Table:
    """Ops of ours in order, with what stock ops take before each; constants take no time and are left out."""
    title = f"{found.path}, {latency_text(found.total_ms)} per inference"
    table = Table(title=title, title_justify="left")
    for name in ("op", "kernel", "output"):
        table.add_column(name, overflow="fold")
    for name in ("calls", "time", "share", "stock ops before"):
        table.add_column(name, justify="right")
    # Of the medians, since what interrupts a whole inference may fall between them.
    whole = sum(each.ms + each.stock_ms for each in found.ops)
    for each in found.ops:
        if each.kernel == "constant":
            continue
        share = f"{each.ms / whole:.1%}"
        cells = (each.op, each.kernel, each.shape, str(each.calls), latency_text(each.ms), share)
        table.add_row(*cells if each.kernel else (each.op, "", "", "", "", ""), latency_text(each.stock_ms))
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


def diff_text(before: str, after: str, found: Difference) -> RenderableType:
    """What changed between two files; constants that did not are only counted."""
    if found.identical:
        return f"{before} and {after} are identical, {found.bytes_before} bytes"
    changed = [row for row in found.tensors if row.change != "same"]
    lines = [f"{before}: {found.bytes_before} bytes", f"{after}: {found.bytes_after} bytes"]
    lines += [f"- {count} {name}" for name, count in found.ops_removed.items()]
    lines += [f"+ {count} {name}" for name, count in found.ops_added.items()]
    lines += [f"other {what}" for what in found.other]
    lines.append(f"{len(found.tensors) - len(changed)} constants are the same")
    table = Table(title=f"{len(changed)} constants differ", title_justify="left")
    for name in ("", "op", "shape", "encoding", "bits", "zeros", "levels", "bytes", "largest difference"):
        table.add_column(name, overflow="fold")
    for row in changed:
        cells = [_both(row.before, row.after, name) for name in ("op", "shape", "encoding", "bits")]
        cells += [_both(row.before, row.after, name) for name in ("sparsity", "levels", "bytes")]
        distance = "" if row.max_difference is None else f"{row.max_difference:.3g}"
        table.add_row({"changed": "~", "added": "+", "removed": "-"}[row.change], *cells, distance)
    return Group(*lines, table) if changed else Group(*lines)


def _both(before: TensorInfo | None, after: TensorInfo | None, name: str) -> str:
    """One field of both constants; once where they agree."""
    old, new = (None if each is None else _cell(getattr(each, name)) for each in (before, after))
    if old is None or new is None or old == new:
        return new if old is None and new is not None else old or ""
    return f"{old} -> {new}"
