"""Commands that run finished files: benchmark, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfcompress.cli.console import DirectionOption, JsonOption, emit
from tfcompress.errors import InvalidInputError

__all__ = ["benchmark", "evaluate"]


def benchmark(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help=".tflite files; the first is the baseline.")],
    rounds: Annotated[int, typer.Option(help="Latency samples per file.")] = 50,
    threads: Annotated[int, typer.Option(help="Threads of each interpreter.")] = 1,
    memory: Annotated[
        bool, typer.Option(help="Measure memory and load time too, each file in a process of its own.")
    ] = True,
    profile: Annotated[bool, typer.Option("--profile", help="Tell the time of each op of ours, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure latency, memory and load time of files side by side.

    Batch 1; the files run interleaved in one process, so that drift of the machine hits all alike.

    Exit code 2 on bad input.
    """
    from rich.console import Group

    from tfcompress import runtime
    from tfcompress.cli.tables import benchmark_table, profile_table

    result = runtime.benchmark(files, rounds=rounds, num_threads=threads, memory=memory)
    found = [runtime.profile(file, rounds=rounds, num_threads=threads) for file in files if profile]
    value = result.to_json() | ({"profiles": [each.to_json() for each in found]} if profile else {})
    emit(value, as_json, lambda: Group(benchmark_table(result), *map(profile_table, found)))


def evaluate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .tflite file, packed or plain.")],
    data: Annotated[Path, typer.Option("--data", metavar="NPZ", help="x_test and y_test are used, as stored.")],
    metric: Annotated[str | None, typer.Option(metavar="NAME", help="A Keras metric, instead of accuracy.")] = None,
    direction: DirectionOption = None,
    batch_size: Annotated[int, typer.Option(help="Samples per inference.")] = 128,
    as_json: JsonOption = False,
) -> None:
    """Measure a file's accuracy on test data.

    All of x_test, through the delegate; or another metric with --metric.

    Exit code 2 on bad input.
    """
    from tfcompress.data import as_data
    from tfcompress.files import load_npz
    from tfcompress.measure import Predictor, as_metric

    if batch_size < 1:
        raise InvalidInputError("batch-size must be at least 1", f"batch_size={batch_size}", "Leave it out")
    samples = as_data(load_npz(data), None, batch_size).test
    the_metric = as_metric(metric, direction)
    labels, outputs = Predictor(file).over(samples.pairs())
    value = the_metric.value(labels, outputs)
    figures = {"path": str(file), "samples": len(labels), "metric": the_metric.name, the_metric.name: value}
    emit(figures, as_json, f"{the_metric.name} {value:.6g} on {len(labels)} samples")
