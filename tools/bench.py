"""What every benchmark `tools/bench_NAME` shares: its command line, its rows, resuming, and the verdict.

    tools/bench_NAME --data DIR --json FILE --check

A row measures one figure against what it must reach. Figures are kept beside a hash of all that they depend on, so that
an interrupted run resumes and a change of the code measures anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "tools" / ".cache"
TICK = 20.0  # seconds between two lines about the time left


@dataclass(frozen=True)
class Run:
    """What a row is measured with.

    Attributes:
        data: Folder of mnist.npz and fashion_mnist.npz.
        cache: Folder for what several rows, or a resumed run, need again.
        quick: Whether to measure something smaller.
    """

    data: Path
    cache: Path
    quick: bool


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: Names it on the command line and in the JSON.
        unit: Unit of the figure and of what it must reach.
        must: What the figure must reach; None where `measure` tells it, too.
        at_least: Whether the figure must be at least, else at most, that.
        seconds: About how long it takes.
        measure: Gives the figure, or the figure and what it must reach.
    """

    name: str
    unit: str
    must: float | None
    at_least: bool
    seconds: float
    measure: Callable[[Run], float | tuple[float, float]]

    def verdict(self, measured: float | tuple[float, float], quick: bool) -> dict[str, Any]:
        """The row of the JSON; a quick run is never ok."""
        figure, must = measured if isinstance(measured, tuple) else (measured, self.must)
        assert must is not None
        good = figure >= must if self.at_least else figure <= must
        name = f"{self.name} (quick)" if quick else self.name
        return {"name": name, "figure": figure, "must": must, "unit": self.unit, "ok": good and not quick}


class BenchmarkError(Exception):
    """A figure cannot be measured, and why."""


def run_benchmark(name: str, description: str, rows: Sequence[Row], sources: Sequence[Path]) -> int:
    """Measures what the command line asks for.

    Args:
        name: Of the benchmark, for its cache.
        description: For --help.
        rows: All figures.
        sources: Files beside the package that the figures depend on.

    Returns:
        The exit code: 1 when --check is given and a figure is missed, 2 for bad usage.
    """
    arguments = _parse(description, rows)
    run = Run(arguments.data, arguments.cache / name, arguments.quick)
    run.cache.mkdir(parents=True, exist_ok=True)
    chosen = [row for row in rows if row.name in (arguments.only or [each.name for each in rows])]
    key = _key(run, sources)
    found = []
    for index, row in enumerate(chosen):
        left = sum(each.seconds for each in chosen[index:]) * (0.2 if run.quick else 1)
        _say(f"{row.name} ({index + 1} of {len(chosen)}), about {_duration(left)} left for all")
        found.append(_measured(row, run, key, arguments.fresh))
    _show(found, rows)
    if arguments.json is not None:
        text = json.dumps({"rows": found, "machine": _machine()}, indent=2) + "\n"
        arguments.json.write_text(text, encoding="utf-8")
    return int(arguments.check and not all(row["ok"] for row in found))


def _parse(description: str, rows: Sequence[Row]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="mnist.npz and fashion_mnist.npz")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    parser.add_argument("--check", action="store_true", help="exit code 1 when a figure is missed")
    names = [row.name for row in rows]
    parser.add_argument("--only", action="append", metavar="NAME", choices=names, help=f"one of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="smaller, and never ok")
    parser.add_argument("--fresh", action="store_true", help="measure anew what was measured before")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help="where figures and models are kept")
    arguments = parser.parse_args()
    missing = [each for each in ("mnist.npz", "fashion_mnist.npz") if not (arguments.data / each).is_file()]
    if missing:
        parser.error(
            f"--data must hold mnist.npz and fashion_mnist.npz. Received: no {missing[0]} in {arguments.data}."
        )
    return arguments


def _measured(row: Row, run: Run, key: str, fresh: bool) -> dict[str, Any]:
    path = run.cache / f"{row.name}{'-quick' if run.quick else ''}.json"
    if not fresh and path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == key:
            _say(f"{row.name}: measured before with the same sources")
            return kept["row"]
    begin = time.monotonic()
    with _Clock(row, run.quick):
        try:
            measured = row.measure(run)
        except Exception as error:  # One row must not take the others along.
            _say(f"{row.name}: {'' if isinstance(error, BenchmarkError) else type(error).__name__ + ': '}{error}")
            return {"name": row.name, "figure": None, "must": row.must, "unit": row.unit, "ok": False}
    verdict = row.verdict(measured, run.quick)
    _say(f"{row.name}: {verdict['figure']:.6g} {row.unit} in {_duration(time.monotonic() - begin)}")
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"key": key, "row": verdict}), encoding="utf-8")
    os.replace(temporary, path)
    return verdict


class _Clock:
    """Says now and then how long a row will still take."""

    def __init__(self, row: Row, quick: bool) -> None:
        self._expected = row.seconds * (0.2 if quick else 1)
        self._name = row.name
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> None:
        self._begin = time.monotonic()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _tick(self) -> None:
        while not self._done.wait(TICK):
            left = self._expected - (time.monotonic() - self._begin)
            _say(f"{self._name}: about {_duration(left)} left" if left > 0 else f"{self._name}: longer than expected")


def _key(run: Run, sources: Sequence[Path]) -> str:
    """A hash of the package's sources, of `sources` and of the data."""
    package = ROOT / "tfcompress"
    kinds = (".py", ".cc", ".h", ".c", ".inc", ".txt")
    files = sorted(path for path in package.rglob("*") if path.suffix in kinds)
    digest = hashlib.sha256()
    for path in (*files, *sources, run.data / "mnist.npz"):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _show(found: Sequence[dict[str, Any]], rows: Sequence[Row]) -> None:
    table = Table()
    table.add_column("figure")
    for heading in ("measured", "must", "unit", "ok"):
        table.add_column(heading, justify="right")
    for row in found:
        at_least = next(each.at_least for each in rows if each.name == row["name"].removesuffix(" (quick)"))
        figure = "–" if row["figure"] is None else f"{row['figure']:,.5g}"
        must = "–" if row["must"] is None else f"{'≥' if at_least else '≤'} {row['must']:,.5g}"
        verdict = "ok" if row["ok"] else "not told" if row["name"].endswith(" (quick)") else "MISSED"
        table.add_row(row["name"], figure, must, row["unit"], verdict)
    Console(width=100).print(table)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
