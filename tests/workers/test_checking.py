"""`models check` as a worker answers it: every protocol, one short question each, no key in what is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from shared.broker import CHECK_CHANNEL
from shared.registry import Registry
from tests.accepted import context
from tests.workers.asking import KEY, model_of, server, servers
from tests.workers.chat_server import Server
from tests.workers.provider_answers import ERRORS, GOOD
from workers.checking import check_model
from workers.context import Context

__all__ = ["server", "servers"]  # fixtures


@pytest.fixture
def ctx(database_url: str) -> Context:
    return context(database_url)


@pytest.fixture
def told(database_url: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """What is told next."""
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"LISTEN {CHECK_CHANNEL}")

        def hear() -> dict[str, Any]:
            (event,) = connection.notifies(timeout=20, stop_after=1)
            assert KEY not in event.payload
            answer: dict[str, Any] = json.loads(event.payload)
            return answer

        yield hear


def test_each_protocol_can_be_checked(
    ctx: Context,
    servers: Callable[[], Server],
    told: Callable[[], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that answers is told with its version, one that does not with the kind of its error."""
    monkeypatch.setenv("OAK_KEY", KEY)
    started = {protocol: servers() for protocol in GOOD}
    ctx.registry = Registry(
        model_of(started[protocol], protocol, name=protocol, key_env="OAK_KEY") for protocol in GOOD
    )
    for protocol, at in started.items():
        at.body = GOOD[protocol]()
        check_model(ctx, "check-1", protocol)
        answer = told()
        assert answer.pop("seconds") >= 0
        returned = "oak-2026-10-01 fp_1" if protocol == "openai" else "oak-2026-10-01"
        assert answer == {"check": "check-1", "model": protocol, "ok": True, "returned": returned}
        at.status, at.body = 401, ERRORS[protocol]
        check_model(ctx, "check-1", protocol)
        answer = told()
        assert (answer["ok"], answer["error"].split()[:2]) == (False, ["rejected:", "401"])
        assert [request[1]["x-request-id"] for request in at.requests] == ["check-1:1"] * 2
    monkeypatch.delenv("OAK_KEY")
    check_model(ctx, "check-1", "gemini")
    assert told()["error"] == "rejected: no key: the environment variable OAK_KEY is not set or empty"
    check_model(ctx, "check-1", "ash")
    assert told()["error"] == "not in the worker's models.toml"
