"""Real servers for the tests: PostgreSQL and Redis run once a session, each test gets its own database."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from db import migrate
from db.engine import engine_for
from embedded.services import Services

_numbers = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--size 500` runs the pipeline's tests in full."""
    parser.addoption("--size", type=int, default=40, help="records in the pipeline's bulk tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes (`-n 2`) a file stays in one, and so do all tests of the one running set."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder == "pipeline" else str(item.path)))


@pytest.fixture
def size(request: pytest.FixtureRequest) -> int:
    """Records in a bulk test."""
    return int(request.config.getoption("--size"))


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A local folder that the servers' user can enter (pytest's own folders are not)."""
    made = Path(tempfile.mkdtemp(prefix="consilium-tests-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def services(home: Path) -> Iterator[Services]:
    """PostgreSQL and Redis for this session, or those that the environment names."""
    with Services(home / "services", dict(os.environ)) as running:
        yield running


@pytest.fixture(scope="session")
def template(services: Services) -> str:
    """A migrated database that others are copied from; its name."""
    name = "consilium_template"
    _execute(services, f"DROP DATABASE IF EXISTS {name}")
    _execute(services, f"CREATE DATABASE {name}")
    url = _on(services, name)
    migrate.upgrade(url)
    engine_for(url).dispose()
    return name


@pytest.fixture
def database_url(services: Services, template: str) -> Iterator[str]:
    """A fresh migrated database."""
    name = f"consilium_test_{next(_numbers)}"
    _execute(services, f"DROP DATABASE IF EXISTS {name}")
    _execute(services, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = _on(services, name)
    yield url
    engine_for(url).dispose()
    _execute(services, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(services: Services) -> Iterator[str]:
    """A fresh database without any table."""
    name = f"consilium_empty_{next(_numbers)}"
    _execute(services, f"CREATE DATABASE {name}")
    url = _on(services, name)
    yield url
    engine_for(url).dispose()
    _execute(services, f"DROP DATABASE {name} WITH (FORCE)")


def _on(services: Services, name: str) -> str:
    return services.addresses.database_url.rsplit("/", 1)[0] + "/" + name


def _execute(services: Services, statement: str) -> None:
    with psycopg.connect(services.addresses.database_url, autocommit=True) as connection:
        connection.execute(statement)
