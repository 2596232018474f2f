"""The engine of this process: one pool, short transactions, no parameter in any error or log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session


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


@contextmanager
def transaction(url: str) -> Iterator[Session]:
    """A session in one transaction: committed at the end, rolled back on an exception."""
    with Session(engine_for(url), expire_on_commit=False) as session, session.begin():
        yield session
