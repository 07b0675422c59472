import platform
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from tfcompress.heap import keep_freed_memory

def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096

if {keep}:
    keep_freed_memory()
before = resident()
array = np.ones(2**26, np.uint8)
del array
print(resident() - before > 2**25)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
@pytest.mark.parametrize("keep", [True, False])
def test_freed_memory_stays_with_the_process_when_asked(keep):
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(keep)
