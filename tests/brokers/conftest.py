"""An authority and the servers that speak TLS, once a session; skipped where a server is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers.authority import Authority, authority
from tests.homes import home_of


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that the servers' user can enter."""
    with home_of("consilium-brokers-") as made:
        yield made


@pytest.fixture(scope="session")
def ours(folder: Path) -> Authority:
    """The authority of the servers' certificates."""
    return authority(folder / "ours")


@pytest.fixture(scope="session")
def another(folder: Path) -> Authority:
    """An authority that has nothing to do with them."""
    return authority(folder / "another")
