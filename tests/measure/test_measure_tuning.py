"""Measuring ops one by one: what is asked, kept and told, with a clock of the test's own."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from tfcompress.codec import Codes
from tfcompress.errors import InvalidInputError
from tfcompress.measure import Tuner, tuning


@dataclasses.dataclass
class Op:
    weight: Codes
    name: str = "TfcConv2D"
    fields: tuple[int, ...] = (0, 0, 1, 1, 1, 1)
    x_shape: tuple[int, ...] = (1, 8, 8, 4)
    y_shape: tuple[int, ...] = (1, 8, 8, 2)

    def alone(self) -> bytes:
        return b"plain"

    def alone_by_kernel(self, pack) -> bytes | None:
        return None if pack(b"plain") == b"plain" else pack(b"plain")


def codes(symbols) -> Codes:
    return Codes(np.asarray(symbols, np.uint8), 4, np.ones(1, np.float32))


@pytest.fixture
def clock(monkeypatch):
    """Each measurement is noted; the kernel takes a third of the time."""
    seen = []

    def benchmark(paths, **options):
        seen.append([path.read_bytes() for path in paths])
        assert options["memory"] is False
        return SimpleNamespace(
            timings=(SimpleNamespace(latency_ms=3.0, speedup=1.0), SimpleNamespace(latency_ms=1.0, speedup=2.9))
        )

    monkeypatch.setattr(tuning, "benchmark", benchmark)
    return seen


def test_both_sides_are_measured_once_per_kind_of_op(clock):
    tuner = Tuner(lambda content: content + b" packed", lambda _: pytest.fail("it can be measured"))
    rng = np.random.default_rng(0)
    weights = [codes(rng.integers(1, 16, (2, 3, 3, 4))) for _ in range(2)]
    assert [tuner(Op(weight)) for weight in weights] == [2.9, 2.9]
    assert clock == [[b"plain", b"plain packed"]]
    tuner(Op(weights[0], x_shape=(1, 9, 9, 4)))
    tuner(Op(codes(np.where(rng.random((2, 3, 3, 4)) < 0.7, 8, 3))))  # zeros may have a kernel of their own
    assert len(clock) == 3 == len(tuner.rows)
    row = tuner.rows[0]
    assert (row.op, row.weight_shape, row.num_bits, row.encoding) == ("TfcConv2D", (2, 3, 3, 4), 4, "uniform")
    assert (row.stock_ms, row.kernel_ms, row.speedup) == (3.0, 1.0, 2.9)


def test_what_can_not_be_packed_alone_is_told_by_the_rule(clock):
    tuner = Tuner(lambda content: content, lambda _: 0.7)
    assert tuner(Op(codes(np.ones((2, 1, 1, 4))))) == 0.7
    assert not clock and not tuner.rows


def test_rounds_must_be_positive():
    with pytest.raises(InvalidInputError, match="rounds must be at least 1. Received: rounds=0"):
        Tuner(lambda content: content, lambda _: 1.0, rounds=0)
