"""Thousands of damaged payloads and files before every reader: errors of ours or equal results, never a crash."""

import subprocess

import pytest
from mutants import byte_mutant, file_mutant, payload_mutant
from packed_files import packed_files
from payload_samples import ENCODINGS, plans, sample
from worker import Worker, faults_of

from tfcompress import __version__
from tfcompress.codec.container import encode_as
from tfcompress.runtime import Interpreter

BYTE_MUTANTS, FILE_MUTANTS, PAYLOAD_MUTANTS = 10_000, 2_000, 6_000


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    """Of every encoding three payloads, each by another coder or form."""
    written = []
    for index, (encoding, num_bits) in enumerate(ENCODINGS):
        weight = sample(encoding, num_bits, (2, 8), scale="tensor" if index % 2 else "channel")
        each = plans(weight)
        written += [encode_as(weight, each[(5 * index + 3 * step) % len(each)]) for step in range(3)]
    return written


def test_the_files_themselves_run_without_fault(c_program, tmp_path):
    files = [(name, "F", content) for name, content in packed_files().items()]
    assert list(faults_of(files, c_program, tmp_path, workers=1)) == []
    for content in packed_files().values():
        Interpreter(model_content=content, num_threads=1).allocate_tensors()


def test_byte_mutants_of_files(c_program, tmp_path):
    files = list(packed_files().items())
    mutants = []
    for index in range(BYTE_MUTANTS):
        name, content = files[index % len(files)]
        mutants.append((f"byte_mutant of {name}, seed 0, index {index}", "F", byte_mutant(content, 0, index)))
    assert list(faults_of(mutants, c_program, tmp_path)) == []


def test_structure_aware_mutants_of_files(c_program, tmp_path):
    files = list(packed_files().items())
    mutants = []
    for index in range(FILE_MUTANTS):
        name, content = files[index % len(files)]
        mutants.append((f"file_mutant of {name}, seed 0, index {index}", "F", file_mutant(content, 0, index)))
    assert list(faults_of(mutants, c_program, tmp_path)) == []


def test_payload_mutants(c_program, tmp_path, payloads):
    mutants = []
    for index in range(PAYLOAD_MUTANTS):
        payload = payloads[index % len(payloads)]
        mutants.append((f"payload_mutant, seed 0, index {index}", "P", payload_mutant(payload, 0, index)))
    assert list(faults_of(mutants, c_program, tmp_path)) == []


def test_readers_agree_on_every_flipped_bit(c_program, tmp_path, payloads):
    mutants = []
    for number, payload in enumerate(payloads[::3]):
        for bit in range(8 * len(payload)):
            flipped = bytearray(payload)
            flipped[bit // 8] ^= 1 << bit % 8
            mutants.append((f"payload {number}, bit {bit}", "P", bytes(flipped)))
    assert list(faults_of(mutants, c_program, tmp_path)) == []


def test_mutants_are_the_same_every_time(payloads):
    content = packed_files()["convs"]
    for make, source in ((byte_mutant, content), (file_mutant, content), (payload_mutant, payloads[0])):
        first = [make(source, 1, index) for index in range(20)]
        assert first == [make(source, 1, index) for index in range(20)]
        assert len(set(first)) > 15


@pytest.mark.parametrize(
    ("decode", "fault"),
    [
        ("return 1;", "reference accepts, native refuses"),
        ("return 0;", "native decodes another tensor"),
        ("abort();", "crash: SIGABRT"),
        ("for (;;) sleep(1);", "hang"),
    ],
)
def test_what_a_bad_library_does_is_seen(c_program, tmp_path, monkeypatch, payloads, decode, fault):
    source, library = tmp_path / "bad.c", tmp_path / "bad.so"
    source.write_text(f"""
        #include <stdlib.h>
        #include <unistd.h>
        const char* tfc_version(void) {{ return "{__version__}"; }}
        int tfc_decode(void) {{ {decode} }}
    """)
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library], check=True)
    monkeypatch.setenv("TFC_DELEGATE_PATH", str(library))
    worker = Worker(c_program, tmp_path / "log", seconds=3 if fault == "hang" else 60)
    found = worker.faults("P", payloads[0])
    worker.close()
    assert len(found) == 1
    assert fault in found[0]
