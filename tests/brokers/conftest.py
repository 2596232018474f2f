"""An authority and the servers that speak TLS, once a session; skipped where a server is not installed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers.authority import Authority, authority


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that the servers' user can enter."""
    made = Path(tempfile.mkdtemp(prefix="consilium-brokers-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def ours(folder: Path) -> Authority:
    """The authority of the servers' certificates."""
    return authority(folder / "ours")


@pytest.fixture(scope="session")
def another(folder: Path) -> Authority:
    """An authority that has nothing to do with them."""
    return authority(folder / "another")
