"""Whatever we need is away for a while: 503 with when to try again, without our own names for it."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import httpx
import psycopg
import pytest
from sqlalchemy.exc import TimeoutError as NoConnection

from producers.api import healthz
from shared.errors import SealedElsewhere
from tests.producers.api.conftest import Door


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoConnection("QueuePool limit reached"), "the database cannot be reached"),
        (SealedElsewhere("a data key does not open with CONSILIUM_SITE_KEY"), "key is being changed"),
    ],
)
def test_what_is_away_may_be_asked_again(
    door: Door, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """No connection is free, or a key rotation has gone past this process."""

    def away(_url: str) -> None:
        raise error

    monkeypatch.setattr("producers.api.healthz.transaction", away)
    answer = httpx.get(f"{door.url}/healthz")
    assert (answer.status_code, answer.json()["type"]) == (503, "away")
    assert int(answer.headers["retry-after"]) > 0
    assert said in answer.json()["detail"]
    assert "CONSILIUM" not in answer.text


def test_a_database_that_hangs_is_told(
    door: Door, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while it holds every thread and connection of the routes; then it is there again."""
    monkeypatch.setattr(healthz, "WITHIN_S", 0.2)
    asked = f"GET /v1/submissions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.key()}\r\n\r\n"
    port = int(door.url.rpartition(":")[2])
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with ExitStack() as stack:
        watcher = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        holder = stack.enter_context(psycopg.connect(database_url))
        holder.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        for _ in range(60):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(asked.encode())
        while watcher.execute(waiting).fetchone() != (32,):
            pass
        for _ in range(3):
            answer = httpx.get(f"{door.url}/healthz")
            assert (answer.status_code, answer.json()["type"]) == (503, "away")
        holder.rollback()
        while httpx.get(f"{door.url}/healthz").status_code != 200:
            pass
