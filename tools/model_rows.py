"""The figures of `tools/bench_models`: whole networks, ours and the stock variants interleaved in one process."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import interpreter as litert
from bench import BenchmarkError, Run

from tfcompress.convert import inspect
from tfcompress.convert.graph import load, op_name
from tfcompress.runtime import Interpreter, load_figures

HERE = Path(__file__).resolve().parent
STOCK = ("float", "dynamic_int8", "full_int8", "quantizer_int8", "quantizer_int4")
QUICK = {"resnet50": "lenet5", "mobilenet_v2": "lenet5"}
ROUNDS = 41
SAMPLE_MS = 5.0  # a faster network is run several times for one sample


def speedup(name: str) -> Callable[[Run], float]:
    """Median time of the fastest stock variant over that of the packed file, one thread, batch 1."""

    def measure(run: Run) -> float:
        times = _medians(_files(run, name), 1, 9 if run.quick else ROUNDS)
        for variant, milliseconds in sorted(times.items(), key=lambda each: each[1]):
            _say(f"  {name} {variant}: {milliseconds:.4g} ms")
        return min(value for variant, value in times.items() if variant != "packed") / times["packed"]

    return measure


def threads(name: str) -> Callable[[Run], float]:
    """Wall time of the packed file on one thread over that on two.

    Of each the 10 % quantile: a second core that others keep busy says nothing about the file.
    """

    def measure(run: Run) -> float:
        path = _files(run, name)["packed"]
        sides = [_Runner(path, count, wall=True, ours=True) for count in (1, 2)]
        one, two = _interleaved(sides, 9 if run.quick else ROUNDS, quantile=0.1)
        _say(f"  {name}: {one:.4g} ms on one thread, {two:.4g} ms on two")
        return one / two

    return measure


def memory(name: str) -> Callable[[Run], tuple[float, float]]:
    """Anonymous resident MB after load, against what the weights in kernel layout, decoded ones and the arena take."""

    def measure(run: Run) -> tuple[float, float]:
        path = _files(run, name)["packed"]
        weights = decoded = 0.0
        for row in inspect(path.read_bytes()):
            count = math.prod(row.shape)
            if "TfcDecode" in row.op:
                decoded += 4 * count
            elif row.coder is not None:
                weights += count * row.bits / 8
        arena = _least_arena(path.read_bytes())
        _say(f"  {name}: {weights / 1e6:.4g} MB of weights, {decoded / 1e6:.4g} decoded, {arena / 1e6:.4g} arena")
        return load_figures(path).anonymous_bytes / 1e6, (1.15 * weights + decoded + arena) / 1e6 + 12

    return measure


def _least_arena(tflite: bytes) -> int:
    """The most bytes of activations that live at once while the main graph runs: no arena can be smaller."""
    model = load(tflite)
    graph = model.subgraphs[0]
    alive: dict[int, list[int]] = {int(index): [0, 0] for index in graph.inputs}
    for step, operator in enumerate(graph.operators):
        for index in (*operator.inputs, *operator.outputs):
            is_constant = index < 0 or model.buffers[graph.tensors[int(index)].buffer].data is not None
            if not is_constant and op_name(model, operator) != "TfcDecode":
                alive.setdefault(int(index), [step, step])[1] = step
    sizes = {index: 4 * abs(math.prod(int(size) for size in graph.tensors[index].shape)) for index in alive}
    steps = range(len(graph.operators))
    return max(sum(sizes[i] for i, (first, last) in alive.items() if first <= step <= last) for step in steps)


class _Runner:
    """One interpreter whose inputs are set; a sample is the time of one inference in milliseconds."""

    def __init__(self, path: Path, num_threads: int, *, wall: bool, ours: bool) -> None:
        maker = Interpreter if ours else litert.Interpreter
        self._interpreter = maker(model_path=str(path), num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._clock = time.perf_counter_ns if wall else time.thread_time_ns
        rng = np.random.default_rng(2)
        for detail in self._interpreter.get_input_details():
            self._interpreter.set_tensor(detail["index"], rng.random(detail["shape"]).astype(detail["dtype"]))
        self._repeats = 1
        self._repeats = max(1, int(SAMPLE_MS / min(self.sample() for _ in range(3))))

    def sample(self) -> float:
        begin = self._clock()
        for _ in range(self._repeats):
            self._interpreter.invoke()
        return (self._clock() - begin) / self._repeats / 1e6


def _interleaved(runners: Sequence[_Runner], rounds: int, quantile: float = 0.5) -> list[float]:
    """Times of runners that take turns, so that drift of the machine hits all alike."""
    times = [[runner.sample() for runner in runners] for _ in range(rounds)]
    return [float(value) for value in np.quantile(times, quantile, axis=0)]


def _medians(files: dict[str, Path], num_threads: int, rounds: int) -> dict[str, float]:
    runners = [_Runner(path, num_threads, wall=False, ours=variant == "packed") for variant, path in files.items()]
    return dict(zip(files, _interleaved(runners, rounds), strict=True))


def _files(run: Run, name: str) -> dict[str, Path]:
    """Every variant of a network that its tool makes; they are made once, the packed one whenever it may be another."""
    name = QUICK.get(name, name) if run.quick else name
    folder = run.cache / "networks" / name
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for variant in (*STOCK, "packed"):
        path, refused = folder / f"{variant}.tflite", folder / f"{variant}.refused"
        if variant == "packed" or not (path.is_file() or refused.is_file()):
            _make(name, variant, folder)
        if path.is_file():
            found[variant] = path
        else:
            _say(f"  {name} {variant} is left out: {refused.read_text(encoding='utf-8')}")
    return found


def _make(name: str, variant: str, folder: Path) -> None:
    command = [sys.executable, str(HERE / "network_models.py"), name, variant, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return
    reason = (done.stderr.strip().splitlines() or ["no reason"])[-1][:300]
    reason = reason if done.returncode > 0 else f"its tool died of signal {-done.returncode}"
    # A missing tool is no property of the network.
    if variant in ("float", "packed") or "ModuleNotFoundError" in reason:
        raise BenchmarkError(f"{variant} of {name} cannot be made: {reason}")
    (folder / f"{variant}.refused").write_text(reason, encoding="utf-8")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
