"""Shared by the tests of the embedded servers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder with a space in its name that every user may enter (pytest's own is closed)."""
    made = Path(tempfile.mkdtemp(prefix="with space "))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)
