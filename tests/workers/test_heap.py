"""What is freed leaves the process, even where something that is still held lies above it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers import heap

ARENA = """
import threading
from pathlib import Path
from workers import heap

def kib():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])

held = []

def work():  # in a thread, and so in an arena that is not the process' own heap
    texts = [bytes([k % 256]) * 60_000 for k in range(1_000)]
    held.append(texts[-1])

thread = threading.Thread(target=work)
thread.start()
thread.join()
freed = kib()
heap.trim()
print(freed - kib())
"""


@pytest.mark.skipif(heap._malloc_trim is None, reason="the C library has no malloc_trim: not glibc")
def test_freed_texts_below_a_held_one_leave_the_process() -> None:
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", ARENA],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(ran.stdout) > 30_000
