"""Alive means that work flows: a worker that leaves its queue lying ends itself, an idle one lives on."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import redis
from celery.worker import state

from embedded.services import Services
from shared.broker import NUDGE, NUDGE_QUEUE, QUEUES, SWEEP
from shared.registry import visibility_s
from shared.sealing import new_site_key
from tests.accepted import ROOT, ask, claim, context, models_toml, one_owed, sending
from workers import lifecycle
from workers.watchdog import Watchdog


class Worker:
    """One worker process, its lines as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def wait_for(self, word: str) -> None:
        """Until a line holds it; pytest's timeout bounds this."""
        while word not in self.lines.get():
            pass


@contextmanager
def worker(app: str, database_url: str, broker_url: str, models_file: Path) -> Iterator[Worker]:
    """A worker of the queue `conclude` that may leave work lying for a second."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CONSILIUM_DATABASE_URL": database_url,
        "CONSILIUM_BROKER_URL": broker_url,
        "CONSILIUM_SITE_KEY": new_site_key(),
        "CONSILIUM_MODELS_FILE": str(models_file),
        "CONSILIUM_IDLE_S": "1",
    }
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", "w@%h", "-Q", NUDGE_QUEUE]
    process = subprocess.Popen(
        [*command, "-P", "threads", "-c", "2", "--without-gossip", "--without-mingle", "-l", "INFO"],
        env=environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def models_file(tmp_path: Path) -> Path:
    """The panel's models."""
    path = tmp_path / "models.toml"
    path.write_text(models_toml(), encoding="utf-8")
    return path


def test_a_worker_that_takes_nothing_ends_itself(
    database_url: str, services: Services, models_file: Path
) -> None:
    """Connected and with free slots, while a message lies in its queue: it says so and ends."""
    broker_url = services.addresses.broker_url
    with (
        sending(services) as (app, _),
        worker("tests.workers.stuck_app", database_url, broker_url, models_file) as stuck,
    ):
        stuck.wait_for("ready.")
        app.send_task(NUDGE, queue=NUDGE_QUEUE, ignore_result=True)
        stuck.wait_for("nothing taken")
        stuck.process.wait(timeout=60)
    assert ask(context(database_url), "SELECT name LIKE 'w@%%', slots FROM workers") == [(True, 2)]


def test_slots_that_are_taken_for_longer_than_any_task_are_lost(
    database_url: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full slots are work, but not for ever: what lies in the queue then counts as left lying."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("workers.watchdog.time", clock)
    monkeypatch.setattr(state, "active_requests", [object()])
    ctx = context(database_url, broker_url=services.addresses.broker_url)
    watchdog = Watchdog(ctx, ["conclude"], slots=1)
    longest_s, idle = visibility_s(ctx.registry, ctx.settings), []
    with sending(services) as (app, _):
        app.send_task(NUDGE, queue=NUDGE_QUEUE, ignore_result=True)
        for clock.now in (0.0, longest_s / 2, longest_s - 1, longest_s + 1, longest_s + 40):
            watchdog.look()
            idle.append(watchdog.idle_s())
    assert idle == [0, 0, 0, 2, 41]


def test_a_process_that_began_without_postgresql_registers_when_it_is_back(database_url: str) -> None:
    """What its former self held is free then; and it is registered once."""
    ctx = context(database_url, name="w@here", idle_s=0.05)
    died = context(database_url, name="w@here")
    lifecycle.register(died, ["conclude"], 2)
    taken = claim(died, one_owed(died))
    assert taken is not None
    register = Mock(side_effect=lambda: lifecycle.register(ctx, ["conclude"], 2))
    watchdog = Watchdog(ctx, ["conclude"], slots=2, register=register)
    ask(ctx, "UPDATE workers SET seen_at = now() - interval '1 h'")
    for _ in range(2):
        watchdog.seen()
    assert ctx.registered
    assert register.call_count == 1
    assert ask(ctx, "SELECT boot_id, seen_at > now() - interval '1 min' FROM workers") == [
        (ctx.boot_id, True)
    ]
    assert ask(ctx, "SELECT count(*) FROM owed_answers WHERE claimed_until > now()") == [(0,)]


def test_a_worker_with_nothing_to_take_lives_on(
    database_url: str, services: Services, models_file: Path
) -> None:
    """Longer than a second without work is no reason; and what comes then is taken."""
    broker_url = services.addresses.broker_url
    client = redis.Redis.from_url(broker_url)
    with (
        sending(services) as (app, _),
        worker("workers.app", database_url, broker_url, models_file) as idle,
    ):
        idle.wait_for("ready.")
        with pytest.raises(subprocess.TimeoutExpired):
            idle.process.wait(timeout=3)
        app.send_task(SWEEP, queue=NUDGE_QUEUE, ignore_result=True)
        while not ask(context(database_url), "SELECT queue FROM heartbeats WHERE queue = 'conclude'"):
            pass
        assert idle.process.poll() is None
    client.delete(*QUEUES)
    client.close()
