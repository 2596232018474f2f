"""Real servers for the tests: PostgreSQL and Redis run once a session, each test gets its own database."""

from __future__ import annotations

import gc
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from celery import Celery
from hypothesis import settings
from psycopg import sql
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from db import migrate
from db.engine import dispose
from embedded.services import Services
from tests import accepted
from tests.homes import home_of
from tests.workers.chat_server import Server, chat_servers
from workers.context import Context

sys.dont_write_bytecode = False  # else every run rewrites each test's asserts anew: 8 s a process
settings.register_profile("tests", max_examples=50, deadline=None)  # no time is asserted: machines differ
settings.load_profile("tests")
LONGEST = ("pipeline", "faults/test_small.py", "embedded/test_services.py")
_numbers = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--size 500` runs the pipeline's tests in full."""
    parser.addoption("--size", type=int, default=40, help="records in the pipeline's bulk tests")


def pytest_collection_finish() -> None:
    """What is loaded by now stays: no collection of garbage need look at it again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begin first, so that no process is left alone with one of them at the end."""
    rank = {place: number for number, place in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(_place(item.nodeid), len(rank)))


def _place(nodeid: str) -> str:
    """What runs in one process: a file, or all of tests/pipeline, which shares one running set."""
    file = nodeid.partition("::")[0].removeprefix("tests/")
    return "pipeline" if file.startswith("pipeline/") else file


class _Places(LoadScopeScheduling):
    """xdist's schedule by place. (Its own groups read an attribute that pytest 9.2 no longer has.)"""

    def _split_scope(self, nodeid: str) -> str:
        return _place(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Places:
    """With several processes (`-n 2`)."""
    return _Places(config, log)


@pytest.fixture
def size(request: pytest.FixtureRequest) -> int:
    """Records in a bulk test."""
    return int(request.config.getoption("--size"))


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A folder that the servers' user can enter."""
    with home_of("consilium-tests-") as made:
        yield made


@pytest.fixture(scope="session")
def services(home: Path) -> Iterator[Services]:
    """PostgreSQL and Redis for this session, or those that the environment names."""
    with Services(home / "services", dict(os.environ)) as running:
        if "postgres" in running.addresses.embedded:
            _hurry(running.addresses.database_url)
        yield running


@pytest.fixture(scope="session")
def template(services: Services) -> str:
    """A migrated database that others are copied from; its name."""
    name = "consilium_template"
    _execute(services, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
    url = _on(services, name)
    migrate.upgrade(url)
    dispose(url)
    return name


@pytest.fixture
def database_url(services: Services, template: str) -> Iterator[str]:
    """A fresh migrated database."""
    name = f"consilium_test_{next(_numbers)}"
    _execute(
        services,
        f"DROP DATABASE IF EXISTS {name}",
        f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy",
    )
    url = _on(services, name)
    yield url
    dispose(url)
    _execute(services, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(services: Services) -> Iterator[str]:
    """A fresh database without any table."""
    name = f"consilium_empty_{next(_numbers)}"
    _execute(services, f"CREATE DATABASE {name}")
    url = _on(services, name)
    yield url
    dispose(url)
    _execute(services, f"DROP DATABASE {name} WITH (FORCE)")


def _on(services: Services, name: str) -> str:
    return services.addresses.database_url.rsplit("/", 1)[0] + "/" + name


def _hurry(url: str) -> None:
    """Nothing here outlives a power cut, and nobody guesses its password: a thousand connections hash it."""
    role = psycopg.conninfo.conninfo_to_dict(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for name in ("fsync", "full_page_writes", "autovacuum"):
            connection.execute(f"ALTER SYSTEM SET {name} = off")
        connection.execute("ALTER SYSTEM SET scram_iterations = 1")
        connection.execute("SELECT pg_reload_conf()")
    with psycopg.connect(url, autocommit=True) as connection:  # begins with what was just set
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role["user"]), role["password"])
        )


def _execute(services: Services, *statements: str) -> None:
    with psycopg.connect(services.addresses.database_url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def server() -> Iterator[Server]:
    """A model server."""
    with chat_servers() as start:
        yield start()


@pytest.fixture
def ctx(database_url: str, server: Server) -> Context:
    """A worker's context, its models on that server."""
    return accepted.context(database_url, server.url)


@pytest.fixture(scope="module")
def app(services: Services) -> Iterator[Celery]:
    """An application on the real broker; nobody consumes what is sent."""
    with accepted.sending(services) as (app, _):
        yield app
