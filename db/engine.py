"""The engine of this process: one pool, short transactions, no parameter in any error or log."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import Session

Role = Literal["enter", "accept", "read", "work"]
"""What somebody may do in the database: find out who asks, take work in, look, or do the work. Whoever may
change the tables owns them."""

# All of it holds until the transaction ends (SET LOCAL), so the connection goes back to the pool as it was.
# The policies of row level security read the source.
AS = text("""
    SELECT set_config('role', 'consilium_' || :role, true),
           set_config('consilium.source_id', :source_id, true),
           set_config('transaction_read_only', CASE :role WHEN 'read' THEN 'on' ELSE 'off' END, true)
""")

Runs = Session | Connection
"""What runs a statement: a session in its transaction, or a connection where each is a transaction."""

IDLE_S = 1.0
"""A connection that lay unused for longer is tested before it is used again: it costs a round trip."""

_OPTIONS = "-c timezone=utc -c lock_timeout=10s -c statement_timeout=120s"

_READ_ONLY = ("in_hot_standby", "default_transaction_read_only")  # told by the server when they change

_TLS = re.compile(r"(SSL error|server certificate|root certificate|server does not support SSL)[^\n]*")
_WHY = {
    "password authentication failed": "the password is refused; is CONSILIUM_DATABASE_URL right?",
    "no pg_hba.conf entry": "its pg_hba.conf lets nobody in from here as that user",
    '" does not exist': "there is no such database or user; is CONSILIUM_DATABASE_URL right?",
    "Connection refused": "nobody listens there; is `consilium up` running, or your own server?",
    "timeout expired": "no answer in time; is the address right, and the network?",
    "could not translate host name": "no host has the name in CONSILIUM_DATABASE_URL",
    "failed to resolve host": "no host has the name in CONSILIUM_DATABASE_URL",
}


WAIT_S = 30.0
"""Whoever finds all connections in use waits so long for one."""


@cache  # never evicted: an engine that is dropped leaves its connections open
def engine_for(url: str, *, autocommit: bool = False) -> Engine:
    """The pooled engine for an address; `postgresql://…` is taken to mean psycopg 3.

    A connection that was idle is tested before use, so a restarted server costs one reconnection and
    rarely an error; statements are bounded so that nothing waits for ever on a lock. With `autocommit` each
    statement is a transaction: a pool of its own, since to change a connection and back costs as much CPU as
    a statement. They are few and find their rows by keys, so that PostgreSQL plans each once a connection: to
    plan some of them anew each time, as it would, takes longer than to run them.
    """
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        pool_size=16,  # what is over it is closed after use, and a connection costs PostgreSQL 10 ms
        max_overflow=0 if autocommit else 16,
        pool_use_lifo=True,  # what is in use stays warm, what is idle stays idle
        pool_timeout=WAIT_S,
        **({"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True} if autocommit else {}),
        connect_args={
            "connect_timeout": 5,
            "application_name": "consilium",
            "options": _OPTIONS + (" -c plan_cache_mode=force_generic_plan" if autocommit else ""),
            # a server that is gone without a word is given up after 15 s to 25 s (TCP alone)
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
            "target_session_attrs": "read-write",  # of several hosts the one that takes writes
        },
    )

    @event.listens_for(engine, "handle_error")
    def away(context: ExceptionContext) -> BaseException | None:
        """A server that has become a standby, or read-only for its full disk, is as good as away."""
        error = context.original_exception
        if not isinstance(error, psycopg.errors.ReadOnlySqlTransaction) or context.connection is None:
            return None
        wire = context.connection.connection.driver_connection
        if wire is None or not any(wire.info.parameter_status(each) == "on" for each in _READ_ONLY):
            return None  # the transaction is: a bug of ours
        context.is_disconnect = True
        return OperationalError("", {}, error)

    @event.listens_for(engine, "checkin")
    def used(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def test(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("used", float("inf")) > IDLE_S:
            try:
                engine.dialect.do_ping(connection)
            except psycopg.OperationalError:  # it and all that are as old are made anew
                raise InvalidatePoolError from None

    return engine


def dispose(url: str, *, close: bool = True) -> None:
    """Close this process's idle connections to that address; without `close`, forget them: a parent's."""
    for engine in (engine_for(url), engine_for(url, autocommit=True)):
        engine.dispose(close=close)


@contextmanager
def _connecting() -> Iterator[None]:
    """All connections in use for so long: whoever waits is as badly off as if PostgreSQL were away."""
    try:
        yield
    except NoConnectionFree as error:
        raise OperationalError("", {}, error) from None


def why_away(error: DBAPIError | psycopg.Error) -> str | None:
    """Why PostgreSQL could not be connected to, and what to do: a sentence's part; None: it is not known.

    From libpq's own words about the connection, before any statement: no row can stand in them.
    """
    orig = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(orig, psycopg.OperationalError) or orig.sqlstate is not None:
        return None
    said = str(orig)
    if found := _TLS.search(said):
        return f"TLS: {found[0]}"
    return next((why for words, why in _WHY.items() if words in said), None)


@contextmanager
def transaction(url: str) -> Iterator[Session]:
    """A session in one transaction: committed at the end, rolled back on an exception.

    Raises `OperationalError` if PostgreSQL is away, or no connection is free for `WAIT_S`.
    """
    with _connecting(), Session(engine_for(url), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def statements(url: str) -> Iterator[Connection]:
    """A connection where each statement is a transaction of its own: one round trip, where a `transaction` of
    one statement takes three. Raises as `transaction` does."""
    with _connecting(), engine_for(url, autocommit=True).connect() as connection:
        yield connection


@contextmanager
def source_transaction(url: str, source_id: uuid.UUID | None, role: Role) -> Iterator[Session]:
    """A transaction with the rights of this role alone; as `accept` or `read` it sees one source's rows only.

    `enter` and `work` see all sources' rows and need no source. As `read` nothing can be changed.
    """
    with transaction(url) as session:
        session.execute(AS, {"role": role, "source_id": str(source_id or "")})
        yield session
