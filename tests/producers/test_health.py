"""`consilium health`: whether work flows, told by rows as the workers leave them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import typer
from typer.testing import CliRunner

from embedded.services import Services
from producers.cli.health import health
from producers.health import Check, flows, worker_flows
from shared.broker import QUEUES
from shared.settings import Settings, get_settings
from tests.accepted import ask, claim, context, one_owed
from workers.context import Context

WELL = {"postgresql", "migrations", "broker", "sweep", "workers", *(f"queue {q}" for q in QUEUES)}


@pytest.fixture
def ctx(database_url: str, services: Services) -> Iterator[Context]:
    """A site of which nothing is known; the broker's queues are empty."""
    with redis.Redis.from_url(services.addresses.broker_url) as broker:
        broker.delete(*QUEUES)
        yield context(database_url, broker_url=services.addresses.broker_url)
        broker.delete(*QUEUES)


@pytest.fixture
def away() -> Iterator[str]:
    """Host and port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def beat(ctx: Context, *queues: str, sent: str = "0 s", received: str = "0 s") -> None:
    """Heartbeats, sent and received so long ago."""
    ask(ctx, "DELETE FROM heartbeats WHERE queue = ANY(%s)", list(queues))
    ask(
        ctx,
        "INSERT INTO heartbeats (queue, sent_at, received_at) "
        "SELECT unnest(%s::text[]), now() - %s::interval, now() - %s::interval",
        *(list(queues), sent, received),
    )


def work(
    ctx: Context, name: str, *queues: str, seen: str = "0 s", consumed: str = "0 s", slots: int = 1
) -> None:
    """A worker process that was seen and took a message so long ago."""
    ask(
        ctx,
        "INSERT INTO workers (name, boot_id, pid, queues, slots, seen_at, consumed_at) VALUES "
        "(%s, gen_random_uuid(), 1, %s, %s, now() - %s::interval, now() - %s::interval)",
        *(name, list(queues), slots, seen, consumed),
    )


def bad(checks: list[Check]) -> dict[str, str]:
    """What is not ok, by name."""
    return {check.name: check.level for check in checks if check.level != "ok"}


def changed(ctx: Context, **changes: object) -> Settings:
    """Its settings, some of them others."""
    told = {"database_url": ctx.settings.database_url, "broker_url": ctx.settings.broker_url, **changes}
    return Settings(_env_file=None, **told)  # type: ignore[arg-type]


def test_all_is_well(ctx: Context) -> None:
    """A fresh sweep, heartbeats that came through, a worker for every queue."""
    beat(ctx, *QUEUES)
    work(ctx, "a@x", *QUEUES)
    checks = flows(ctx.settings)
    assert {check.name for check in checks} == WELL - {"queue conclude"}
    assert bad(checks) == {}


def test_nothing_has_ever_run(ctx: Context) -> None:
    """Without a sweep and without workers nothing flows, and it says what to start."""
    checks = flows(ctx.settings)
    assert bad(checks) == {"sweep": "problem", "workers": "problem"}
    assert "start `beat`" in next(check.told for check in checks if check.name == "sweep")


def test_a_queue_without_workers(ctx: Context) -> None:
    """Sent and not received for too long is stale; received long ago and nothing sent since is not."""
    beat(ctx, *QUEUES)
    work(ctx, "a@x", *QUEUES)
    beat(ctx, "local", sent="5 s", received="90 s")
    beat(ctx, "remote", sent="100 s", received="90 s")
    beat(ctx, "remote.urgent", sent="5 s", received="30 s")
    found = flows(ctx.settings)
    assert bad(found) == {"queue local": "problem"}
    assert any("no workers take from local" in check.told for check in found)
    beat(ctx, "conclude", sent="90 s", received="90 s")
    assert bad(flows(ctx.settings)) == {"queue local": "problem", "sweep": "problem"}


def test_silent_workers(ctx: Context) -> None:
    """A silent worker is a problem where nobody serves its queues; one replaced is told of for an hour."""
    beat(ctx, *QUEUES)
    work(ctx, "silent@x", "remote", "local", seen="40 s")
    work(ctx, "other@x", "remote")
    assert bad(flows(ctx.settings)) == {"workers": "problem"}
    work(ctx, "another@x", "local")
    assert bad(flows(ctx.settings)) == {"workers": "warning"}
    ask(ctx, "UPDATE workers SET seen_at = now() - interval '2 h' WHERE name = 'silent@x'")
    assert bad(flows(ctx.settings)) == {}
    ask(ctx, "UPDATE workers SET stopped_at = now() WHERE name = 'another@x'")
    assert bad(flows(ctx.settings)) == {"workers": "problem"}


def test_servers_away(ctx: Context, empty_database_url: str, away: str) -> None:
    """What can still be told is told; no word of an address or a password."""
    gone = changed(ctx, broker_url=f"redis://:SECRET@{away}/0")
    assert bad(flows(gone))["broker"] == "problem"
    gone = changed(ctx, database_url=f"postgresql://u:SECRET@{away}/x")
    checks = flows(gone)
    assert bad(checks) == {"postgresql": "problem"}
    assert "SECRET" not in repr(checks)
    assert bad(flows(changed(ctx, database_url=empty_database_url))) == {"migrations": "problem"}
    ask(ctx, "UPDATE alembic_version SET version_num = '0001'")
    assert bad(flows(ctx.settings)) == {"migrations": "problem"}


def test_one_worker(ctx: Context) -> None:
    """Seen and taking work, idle with empty queues, or busy with all its slots is well."""
    assert bad(worker_flows(ctx.settings, "models-1")) == {"registered": "problem"}
    work(ctx, "models-1@here", "remote", "local", slots=1)
    work(ctx, "models-10@here", "remote", seen="1 h")
    for name in ("models-1", "models-1@here"):
        assert bad(worker_flows(ctx.settings, name)) == {}
    ask(ctx, "UPDATE workers SET consumed_at = now() - interval '90 s'")
    assert bad(worker_flows(ctx.settings, "models-1")) == {}, "its queues are empty"
    with redis.Redis.from_url(ctx.settings.require_broker()) as broker:
        broker.rpush("conclude", "x")
        assert bad(worker_flows(ctx.settings, "models-1")) == {}, "another's queue"
        broker.rpush("local", "x")
    assert bad(worker_flows(ctx.settings, "models-1")) == {"takes work": "problem"}
    assert claim(ctx, one_owed(ctx), holder="models-1@here some-boot-id")
    assert bad(worker_flows(ctx.settings, "models-1")) == {}, "its one slot is busy"
    ask(ctx, "UPDATE workers SET seen_at = now() - interval '40 s'")
    assert bad(worker_flows(ctx.settings, "models-1")) == {"seen": "problem"}
    ask(ctx, "UPDATE workers SET stopped_at = now(), seen_at = now()")
    assert bad(worker_flows(ctx.settings, "models-1")) == {"registered": "problem"}


def test_of_several_machines_the_one_seen_last(ctx: Context) -> None:
    """A name before the @ that several machines have means this one's, else the one seen last."""
    work(ctx, "models-1@far", "remote", seen="2 h")
    work(ctx, "models-1@near", "remote", seen="1 s")
    assert bad(worker_flows(ctx.settings, "models-1")) == {}
    work(ctx, f"models-1@{socket.gethostname()}", "remote", seen="1 h")
    assert bad(worker_flows(ctx.settings, "models-1")) == {"seen": "problem"}


def test_a_worker_is_not_to_blame_for_servers_that_are_away(ctx: Context, away: str) -> None:
    """Restarting it would help nobody: a warning, no problem."""
    work(ctx, "models-1@here", "remote", consumed="90 s")
    gone = changed(ctx, broker_url=f"redis://{away}/0")
    assert bad(worker_flows(gone, "models-1")) == {"takes work": "warning"}
    gone = changed(ctx, database_url=f"postgresql://u@{away}/x")
    assert bad(worker_flows(gone, "models-1")) == {"postgresql": "warning"}


@pytest.fixture
def command(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs the command; its exit code and output."""
    app = typer.Typer()
    app.command()(health)
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path))
    monkeypatch.setenv("CONSILIUM_DATABASE_URL", ctx.settings.require_database())
    monkeypatch.setenv("CONSILIUM_BROKER_URL", ctx.settings.require_broker())
    get_settings.cache_clear()

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, words)
        return done.exit_code, done.stdout

    yield run
    get_settings.cache_clear()


def test_the_command(ctx: Context, command: Callable[..., tuple[int, str]]) -> None:
    """One line a check for people, rows for programs, and the exit code."""
    code, told = command()
    assert code == 1
    assert "problem sweep: has never run: start `beat` and the worker `conclude`\n" in told
    assert "ok      postgresql: reachable\n" in told
    beat(ctx, *QUEUES)
    work(ctx, "a@x", *QUEUES)
    code, told = command("--format", "json")
    assert code == 0
    assert {row["name"]: row["level"] for row in json.loads(told)} == dict.fromkeys(
        WELL - {"queue conclude"}, "ok"
    )
    assert command("--worker", "a")[0] == 0
    assert command("--worker", "b") == (
        1,
        "problem registered: no worker b has ever registered: see its log\n",
    )
