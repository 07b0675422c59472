"""What tools/model_aarch64 reads from object files, and the float loops that it compares with."""

import re
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent.parent / "tools" / "model_aarch64"
BODY = [
    (0, "mov", "x0, #0"),
    (4, "ldr", "q0, [x1], #16"),  # the outer loop starts here
    (8, "sdot", "v1.4s, v0.16b, v2.4b[0]"),  # and the inner one
    (12, "b.ne", "8 <f+0x8>  // b.any"),
    (16, "cbnz", "x3, 4 <f+0x4>"),
    (20, "b.eq", "28 <f+0x1c>"),  # forwards
    (24, "bl", "0 <g>"),
    (28, "ret", ""),
]


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader("model_aarch64", str(TOOL))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    monkeypatch.setitem(sys.modules, loader.name, module)
    loader.exec_module(module)
    return module


def test_only_innermost_loops(model):
    assert model.innermost_loops(BODY) == [BODY[2:4]]
    assert model.innermost_loops(BODY[4:]) == []


def test_assembly_has_no_jumps_and_no_remarks(model):
    assert model.assembly(BODY[2:4]) == "sdot v1.4s, v0.16b, v2.4b[0]\n"
    assert model.assembly([(0, "adrp", "x0, 1000 <f>"), (4, "add", "x1, x1, #0x10  // #16")]) == (
        "adrp x0, 1000 \nadd x1, x1, #0x10  \n"
    )


@pytest.mark.parametrize("name", ["float_gemm", "float_depthwise"])
def test_float_loops_do_what_they_count(model, name):
    text, adds = getattr(model, name)()
    products = re.findall(r"fmla (v\d+)", text)
    assert 4 * len(products) == adds
    loaded = set(re.findall(r"\bq(\d+)", text))
    assert set(re.findall(r"fmla v\d+\.4s, v(\d+)", text)) <= loaded


def test_every_kernel_file_is_modelled(model):
    kernels = TOOL.parent.parent / "tfcompress" / "native" / "kernels"
    files = {str(path.relative_to(kernels)) for path in kernels.glob("*/arm_*.cc")}
    # Of these nothing but loads and stores counts.
    unmodelled = {"embedding/arm_neon.cc", "quantize/arm_neon.cc", "requantize/arm_neon.cc"}
    assert {kernel.source for kernel in model.KERNELS} == files - unmodelled
