"""Folders for a test's servers: every user may enter them, and they lie in memory where there is room.

Servers of a test outlive processes that are killed, never a power cut; and on a disk PostgreSQL takes ten
times as long to copy a database, of which nearly every test has its own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM = 4 * 2**30


def new_home(prefix: str) -> Path:
    """An empty folder, for whoever asks to remove."""
    roomy = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if roomy else None))
    made.chmod(0o755)  # pytest's own folders are closed
    return made


@contextmanager
def home_of(prefix: str) -> Iterator[Path]:
    """An empty folder that is gone at the end."""
    made = new_home(prefix)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
