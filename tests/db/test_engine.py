"""Connections: what is a transaction, and what it means that none is free."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError, OperationalError

from db import engine
from db.engine import dispose, source_transaction, statements, transaction
from db.queries.documents import OPEN

Connecting = Callable[[str], AbstractContextManager[Any]]


@pytest.fixture
def impatient_url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address whose connections are waited for hardly at all."""
    monkeypatch.setattr(engine, "WAIT_S", 0.05)
    url = f"{database_url}{'&' if '?' in database_url else '?'}application_name=impatient"
    yield url
    dispose(url)


@pytest.mark.parametrize(("connecting", "most"), [(transaction, 32), (statements, 16)])
def test_no_free_connection_is_as_if_postgresql_were_away(
    impatient_url: str, connecting: Connecting, most: int
) -> None:
    """So a task comes again later, and a request is told to; it is no bug of whoever waited."""
    with ExitStack() as held:
        for _ in range(most):
            held.enter_context(connecting(impatient_url)).execute(text("SELECT 1"))
        with pytest.raises(OperationalError), connecting(impatient_url) as one_more:
            one_more.execute(text("SELECT 1"))
    with connecting(impatient_url) as again:
        again.execute(text("SELECT 1"))


def test_a_server_that_is_gone_without_a_word_is_given_up(database_url: str) -> None:
    """In either pool, by TCP: what is sent and not confirmed, and who is silent (ms; s, s, times)."""
    told = {"tcp_user_timeout": "15000", "keepalives_idle": "10", "keepalives_interval": "5"}
    for autocommit in (False, True):
        with engine.engine_for(database_url, autocommit=autocommit).connect() as connection:
            wire = connection.connection.driver_connection
            assert wire is not None
            assert told.items() | {("keepalives_count", "3")} <= wire.info.get_parameters().items()


def test_a_statement_is_a_transaction_a_transaction_is_whole(database_url: str) -> None:
    """Others see each statement at once, a transaction's at its end, whichever came before."""
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("CREATE TABLE kept (n int)")

        def seen() -> int:
            return len(other.execute("SELECT n FROM kept").fetchall())

        insert = text("INSERT INTO kept VALUES (1)")
        for round_ in range(2):
            with statements(database_url) as connection:
                connection.execute(insert)
                assert seen() == 2 * round_ + 1
            with transaction(database_url) as session:
                session.execute(insert)
                assert seen() == 2 * round_ + 1
            assert seen() == 2 * round_ + 2


def test_a_statement_is_planned_once_a_connection(database_url: str) -> None:
    """Left to itself PostgreSQL plans `= ANY` anew each time it runs, which takes longer than to run it."""
    with statements(database_url) as connection:
        for _ in range(20):
            connection.execute(OPEN, {"ids": [uuid.uuid4()]})
        planned = "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE :like"
        [(anew, once)] = connection.execute(text(planned), {"like": "%clinical_documents%"}).all()
    assert anew == 0
    assert once > 10


@pytest.mark.parametrize("connecting", [transaction, statements])
def test_a_server_that_takes_no_writes_is_away(database_url: str, connecting: Connecting) -> None:
    """A standby after a failover, a full disk: the connection is given up, and what failed comes again."""
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("CREATE TABLE kept (n int)")
    with connecting(database_url) as connection:
        connection.execute(text("SELECT set_config('default_transaction_read_only', 'on', false)"))
    with pytest.raises(OperationalError), connecting(database_url) as connection:
        connection.execute(text("INSERT INTO kept VALUES (1)"))
    with connecting(database_url) as connection:
        connection.execute(text("INSERT INTO kept VALUES (1)"))


def test_to_write_in_a_transaction_that_reads_is_a_bug(database_url: str) -> None:
    """It is no server that is away: nobody is to try again."""
    with pytest.raises(InternalError), source_transaction(database_url, None, "read") as session:
        session.execute(text("UPDATE sources SET name = name"))
