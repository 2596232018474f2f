"""Shared by the tests of the embedded servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.homes import home_of


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder with a space in its name that every user may enter (pytest's own is closed)."""
    with home_of("with space ") as made:
        yield made
