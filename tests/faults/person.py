"""Somebody who types: a program that has been started and waits for its input."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator

from tests.faults.bench import Bench


@contextlib.contextmanager
def typing(bench: Bench, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`consilium …` that reads its input already: on a busy machine its start alone may outlast an outage."""
    with bench.typed(*words) as process:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        unread = bytearray(b"\1\0\0\0")
        while process.poll() is None and int.from_bytes(unread, sys.byteorder):
            threading.Event().wait(0.02)
            fcntl.ioctl(process.stdin, termios.FIONREAD, unread)
        yield process
