"""The figures of `tools/bench_format` about damaged input: how many mutants every reader answered as it must."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from bench import ROOT, BenchmarkError, Run

FUZZ = ROOT / "tests" / "native" / "fuzz"
# Target, its corpus, and how many inputs it gets; together a million.
TARGETS = (("container", "payload", 400_000), ("decoder", "payload", 400_000), ("prepare", "prepare", 200_000))
SEED = 1  # the suite has 0
WORKERS = 2
CHUNK = 1000
QUICK = 20  # times fewer


def fuzz_bytes(run: Run) -> float:
    """How many files with changed bytes every reader refused, or read alike."""
    return _judged(run, "byte_mutant", 10_000)


def fuzz_structured(run: Run) -> float:
    """The same of files whose fields were changed under lengths and checksums that fit."""
    return _judged(run, "file_mutant", 2_000)


def _judged(run: Run, kind: str, count: int) -> float:
    sys.path += [str(ROOT / "tests" / room) for room in ("hardening", "codec", "runtime")]
    import mutants as makers
    from c_decoder import build
    from packed_files import packed_files
    from worker import faults_of

    mutant = getattr(makers, kind)
    files = list(packed_files().items())
    count //= QUICK if run.quick else 1
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        for start in range(0, count, CHUNK):
            mutants = []
            for index in range(start, min(start + CHUNK, count)):
                name, content = files[index % len(files)]
                named = f"{kind} of {name}, seed {SEED}, index {index}"
                mutants.append((named, "F", mutant(content, SEED, index)))
            faults = list(islice(faults_of(mutants, program, Path(folder), WORKERS), 3))
            if faults:
                raise BenchmarkError(f"a reader failed: {'; '.join(faults)}")
    return count


def fuzz_in_process(run: Run) -> float:
    """How many inputs of libFuzzer the container, the decoder and Prepare took under both sanitizers."""
    folder = ROOT / "build" / "fuzz"
    clang = shutil.which("clang++")
    if clang is None:
        raise BenchmarkError("clang++ is not installed, and libFuzzer comes with it")
    source = str(ROOT / "tfcompress" / "native")
    options = ["-G", "Ninja", "-DTFC_FUZZ=ON", f"-DCMAKE_CXX_COMPILER={clang}"]
    _command(["cmake", "-S", source, "-B", str(folder), *options])
    _command(["cmake", "--build", str(folder), "-j", "2", "--target", *(f"{name}_fuzz" for name, _, _ in TARGETS)])
    done = 0
    for name, corpus, count in TARGETS:
        count //= QUICK if run.quick else 1
        with tempfile.TemporaryDirectory() as found:
            line = [str(folder / "fuzz" / f"{name}_fuzz"), f"-runs={count}", f"-seed={SEED}", "-timeout=20"]
            said = _command([*line, f"-artifact_prefix={run.cache}/", found, str(FUZZ / "corpus" / corpus)])
        runs = re.search(r"Done (\d+) runs", said)
        if runs is None:
            raise BenchmarkError(f"{name}_fuzz does not say how many inputs it ran: {said[-200:]}")
        done += int(runs[1])
    return done


def _command(line: list[str]) -> str:
    """Runs a command; what it printed."""
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        raise BenchmarkError(f"{' '.join(line[:3])} failed: {done.stdout.strip()[-1000:]}")
    return done.stdout
