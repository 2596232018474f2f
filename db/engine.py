"""The engine of this process: one pool, short transactions, no parameter in any error or log."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import psycopg
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
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

_TLS = re.compile(r"(SSL error|server certificate|root certificate|server does not support SSL)[^\n]*")


@cache  # never evicted: an engine that is dropped leaves its connections open
def engine_for(url: str) -> Engine:
    """The pooled engine for an address; `postgresql://…` is taken to mean psycopg 3.

    A connection is tested before use (`pool_pre_ping`), so a restarted server costs one reconnection and no
    error; statements are bounded so that nothing waits for ever on a lock.
    """
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=24,
        pool_timeout=30,
        connect_args={
            "connect_timeout": 5,
            "application_name": "consilium",
            "options": "-c timezone=utc -c lock_timeout=10s -c statement_timeout=120s",
            "keepalives_idle": 10,
        },
    )


def why_away(error: DBAPIError | psycopg.Error) -> str | None:
    """What was wrong with TLS, if that is why PostgreSQL could not be reached: a sentence's part; else None.

    libpq's own words about the connection, before any statement: no row can stand in them.
    """
    orig = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(orig, psycopg.OperationalError) or orig.sqlstate is not None:
        return None
    found = _TLS.search(str(orig))
    return f"TLS: {found[0]}" if found else None


@contextmanager
def transaction(url: str) -> Iterator[Session]:
    """A session in one transaction: committed at the end, rolled back on an exception."""
    with Session(engine_for(url), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def source_transaction(url: str, source_id: uuid.UUID | None, role: Role) -> Iterator[Session]:
    """A transaction with the rights of this role alone; as `accept` or `read` it sees one source's rows only.

    `enter` and `work` see all sources' rows and need no source. As `read` nothing can be changed.
    """
    with transaction(url) as session:
        session.execute(AS, {"role": role, "source_id": str(source_id or "")})
        yield session
