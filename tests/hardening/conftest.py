"""The stand-alone decoder, compiled once, and the modules of other rooms' tests that make and forge payloads."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("codec", "runtime")]

from c_decoder import CDecoder, build  # noqa: E402  # It imports nothing of ours, but sorts behind the path.


@pytest.fixture(scope="session")
def c_program(tmp_path_factory) -> Path:
    """The decoder as a program under the sanitizers."""
    if shutil.which("cc") is None:
        pytest.skip("The C11 decoder is NOT TESTED: there is no C compiler `cc`. Install gcc or clang.")
    return build(tmp_path_factory.mktemp("c_decoder"))


@pytest.fixture
def c_decoder(c_program):
    """A running decoder; what a sanitizer says is an error at the end at the latest."""
    decoder = CDecoder(c_program)
    yield decoder
    decoder.close()
