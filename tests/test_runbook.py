"""The runbook's steps, tried: in a world that shows a section's symptom its commands print what it says.

A `console` block is commands behind `$ ` (and `> `), each with its exit code where it is not 0, and the lines
that they print; `console well` is run when the symptom's cause is gone. Shown lines must come in their order,
with any numbers, times, ids and spaces; `…` stands for lines that are left out, or for the rest of a line.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from typer.main import get_command

from db.engine import dispose, transaction
from db.queries import heartbeats, model_states
from embedded.postgres import binaries
from embedded.services import Services
from producers.cli import application
from shared.broker import QUEUES
from shared.errors import SettingsError
from tests.accepted import ROOT, TRIO, context
from tests.faults.registry import scenarios
from tests.producers import test_cli
from tests.producers.test_cli import COMMAND, Done, Shell
from tests.stored import Stored
from workers.dispatch import take

shell = test_cli.shell
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^( *)```console( well)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One command as the runbook shows it."""

    command: str
    code: int
    shown: tuple[str, ...]
    well: bool


def steps(section: str) -> list[Step]:
    """The commands of a section, in order."""
    found = []
    for indent, well, block in BLOCK.findall(SECTIONS[section]):
        lines = [line.removeprefix(indent) for line in block.splitlines()]
        for part in re.split(r"^\$ ", "\n".join(lines), flags=re.MULTILINE)[1:]:
            typed, _, shown = part.replace("\n> ", " ").partition("\n")
            command, _, code = typed.partition("  # exit code ")
            found.append(Step(command, int(code or 0), tuple(shown.splitlines()), bool(well)))
    return found


class World:
    """A site in some state: what a section's symptom is made of, and what its commands find."""

    def __init__(
        self, shell: Shell, services: Services, url: str, monkeypatch: pytest.MonkeyPatch, closed: int
    ) -> None:
        assert services.addresses.site_key
        self.shell = shell
        self.stored = Stored(url, services.addresses.site_key)
        self.environ = monkeypatch
        self.closed = closed
        self.names: dict[str, str] = {}
        self._beats: dict[str, str] = {}
        self._seen: dict[str, str] = {}

    def heartbeat(self, *queues: str, ago: str = "3 s") -> None:
        """The last message through these queues came so long ago, and another has been sent since."""
        self._beats |= dict.fromkeys(queues, ago)

    def worker(self, name: str, *queues: str, slots: int = 32) -> None:
        """A worker process has registered."""
        self.stored.ask(
            "INSERT INTO workers (name, boot_id, pid, queues, slots) "
            "VALUES (%s, gen_random_uuid(), %s, %s, %s) ON CONFLICT DO NOTHING",
            *(name, 4711 + len(self._seen), list(queues), slots),
        )
        self.seen(name)

    def seen(self, *names: str, ago: str = "4 s") -> None:
        """These workers were last heard of so long ago."""
        self._seen |= dict.fromkeys(names, ago)

    def age(self) -> None:
        """Everything is as old as was said, however long the test has taken until now."""
        self.stored.ask(
            "INSERT INTO heartbeats (queue, sent_at, received_at) "
            "SELECT name, now() - ago / 2, now() - ago FROM unnest(%s::text[], %s::interval[]) b (name, ago) "
            "ON CONFLICT (queue) DO UPDATE "
            "SET sent_at = excluded.sent_at, received_at = excluded.received_at",
            *(list(self._beats), list(self._beats.values())),
        )
        self.stored.ask(
            "UPDATE workers w SET seen_at = now() - ago, consumed_at = now() - ago "
            "FROM unnest(%s::text[], %s::interval[]) AS b (name, ago) WHERE w.name = b.name",
            *(list(self._seen), list(self._seen.values())),
        )

    def alive(self) -> None:
        """Work flows through every queue."""
        self.heartbeat(*QUEUES)
        self.worker("models-1@host", "remote", "remote.urgent", "local", "local.urgent")
        self.worker("urgent@host", "remote.urgent", "local.urgent", slots=8)
        self.worker("conclude@host", "conclude", "periodic", slots=4)
        self.worker("quarantine@host", "quarantine", slots=1)

    def run(self, command: str) -> Done:
        """A command of the runbook: ours in this process, others by bash with PostgreSQL's own tools."""
        self.age()
        for name, value in self.names.items():
            command = re.sub(rf"\b{name}\b", value, command)
        if command.startswith("consilium "):
            return self.shell.here(*shlex.split(command)[1:])
        folders = [str(Path(COMMAND).parent), os.environ["PATH"]]
        with suppress(SettingsError):  # servers of one's own, and their tools
            folders.insert(0, str(binaries()))
        done = subprocess.run(
            ["bash", "-c", command],
            env={**os.environ, "PATH": os.pathsep.join(folders), "LC_ALL": "C.UTF-8", "PAGER": "cat"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def nothing_moves(world: World) -> Generator[None]:
    """The sweep has not run for two minutes, and everything is paused."""
    world.alive()
    world.heartbeat("conclude", ago="125 s")
    _, ids = world.stored.submit(3)
    world.stored.dispatch(ids[0])
    world.shell.here("pause")
    world.stored.ask("UPDATE consultations SET held = 'paused' WHERE dispatched_at IS NOT NULL")
    yield
    world.heartbeat("conclude")


def one_hospital_waits(world: World) -> Generator[None]:
    """One source is paused; another has sent a lot."""
    world.alive()
    for source, n in (("county", 30), ("st-mary", 2)):
        world.stored.source(source)
        _, ids = world.stored.submit(n, source=source)
        if n > 25:
            world.stored.dispatch(*ids[:25])
    world.stored.ask("UPDATE consultations SET accepted_at = now() - interval '2 h'")
    world.shell.here("pause", "--source", "st-mary")
    yield
    world.stored.dispatch(*ids)


def it_costs_too_much(world: World) -> Generator[None]:
    """A submission's cap holds the half of it."""
    world.alive()
    world.stored.source("st-mary")
    unpriced = '{"deny": ["sim-rowan-large"]}'
    world.stored.ask("UPDATE sources SET policy = %s WHERE name = 'st-mary'", unpriced)
    submission, ids = world.stored.submit(4, source="st-mary", budget_usd=Decimal("0.06"))
    ctx = context(world.stored.url)
    with ctx.transaction() as session:
        taken = take(session, replace(ctx))
    assert 0 < len(taken) < 4
    world.stored.call(world.stored.owed(taken[0])[0], 1, "0.0041")
    world.stored.call(world.stored.owed(taken[0])[1], 1, "0.0027")
    world.names = {"SUBMISSION": str(submission), "SOURCE": "st-mary", "MODEL": TRIO[0]}
    yield
    world.stored.dispatch(*ids)


def a_model_is_away(world: World) -> Generator[None]:
    """Its breaker is open; another is rate limited."""
    world.alive()
    _, (a, b) = world.stored.submit(2)
    world.stored.dispatch(a, b)
    away, limited = TRIO[0], TRIO[1]
    world.names = {"MODEL": away}
    for number in range(1, 6):
        world.stored.call(world.stored.owed(a)[0], number, None)
        with transaction(world.stored.url) as session:
            model_states.failed(session, away, probe=False, enough=5, cooldown_s=30, cap_s=300)
    for number in range(1, 4):
        world.stored.call(world.stored.owed(b)[1], number, None)
    world.stored.ask(
        "UPDATE model_calls SET error_kind = 'rate_limited', status = 429 WHERE owed_answer_id = %s",
        world.stored.owed(b)[1],
    )
    learned = {limited: {"in_flight": 3, "learned_limit": 6.0, "waits_s": 600.0}}
    with transaction(world.stored.url) as session:
        model_states.learned(session, learned)
    yield
    with transaction(world.stored.url) as session:
        assert model_states.answered(session, away)


def consultations_fail(world: World) -> Generator[None]:
    """Two failed for their models, one long ago past its deadline."""
    world.alive()
    submission, (a, b, c) = world.stored.submit(3)
    for id_ in (a, b):
        world.stored.answer(world.stored.owed(id_)[0])
        for owed in world.stored.owed(id_)[1:]:
            world.stored.excuse(owed)
            world.stored.call(owed, 4, "0.0012")
    world.stored.fail(a, b)
    world.stored.fail(c, reason="expired", ago="40 d")
    world.names = {"SUBMISSION": str(submission), "CONSULTATION": str(a)}
    yield


def workers_die(world: World) -> Generator[None]:
    """The only workers that call models were killed, with work in flight."""
    world.alive()
    world.seen("models-1@host", "urgent@host", ago="95 s")
    world.heartbeat("remote", "remote.urgent", ago="110 s")
    _, ids = world.stored.submit(2)
    world.stored.dispatch(*ids)
    world.age()
    with transaction(world.stored.url) as session:
        heartbeats.hold(session, heartbeats.stale(session, stale_s=60))
    world.names = {"WORKER": "models-1"}
    yield
    world.alive()
    yield


def broker_is_lost(world: World) -> Generator[None]:
    """Nobody answers at the broker's address."""
    world.alive()
    broker = os.environ["CONSILIUM_BROKER_URL"]
    world.environ.setenv("CONSILIUM_BROKER_URL", f"redis://127.0.0.1:{world.closed}/0")
    world.shell.file("more.ndjson", test_cli.record("a"))
    yield
    world.environ.setenv("CONSILIUM_BROKER_URL", broker)


def postgresql_is_away(world: World) -> Generator[None]:
    """Nobody answers at the database's address."""
    world.alive()
    database = os.environ["CONSILIUM_DATABASE_URL"]
    world.environ.setenv("CONSILIUM_DATABASE_URL", f"postgresql://u@127.0.0.1:{world.closed}/x")
    world.shell.file("more.ndjson", test_cli.record("a"))
    world.names = {"WORKER": "models-1"}
    yield
    world.environ.setenv("CONSILIUM_DATABASE_URL", database)


def disk_full(world: World) -> Generator[None]:
    """The broker refuses to write, as on a full disk; scenario 25 of the fault suite fills real ones."""
    world.alive()
    for name in ("postgres", "redis", "logs"):
        (world.shell.folder / ".consilium" / name).mkdir(parents=True)
    world.shell.file("more.ndjson", test_cli.record("a"))
    world.shell.file("yet-more.ndjson", test_cli.record("b"))
    with redis.Redis.from_url(os.environ["CONSILIUM_BROKER_URL"]) as broker:
        broker.config_set("maxmemory", 1)
        try:
            yield
        finally:
            broker.config_set("maxmemory", 0)
    yield


def restore(world: World) -> Generator[None]:
    """Work in flight, and the address of a database that is not there yet."""
    world.alive()
    world.heartbeat("conclude", ago="10 min")
    _, ids = world.stored.submit(2)
    world.stored.dispatch(ids[0])
    old, name = world.stored.url, f"restored_{uuid.uuid4().hex[:8]}"
    new = f"{old.rsplit('/', 1)[0]}/{name}"
    world.names = {"restored": name}
    world.environ.setenv("NEW_DATABASE_URL", new)
    try:
        yield
        world.environ.setenv("CONSILIUM_DATABASE_URL", new)
        world.stored.url = new
        world.alive()
        yield
    finally:
        dispose(new)
        with psycopg.connect(old, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


WORLDS: dict[str, Callable[[World], Generator[None]]] = {
    "Nothing moves": nothing_moves,
    "One hospital waits": one_hospital_waits,
    "It costs too much": it_costs_too_much,
    "A model is slow, limited or down": a_model_is_away,
    "Consultations fail": consultations_fail,
    "Workers die or idle": workers_die,
    "The broker was flushed or lost": broker_is_lost,
    "PostgreSQL is away": postgresql_is_away,
    "Disk full": disk_full,
    "Restore": restore,
}


@pytest.fixture
def world(
    shell: Shell, services: Services, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A site on a fresh database, with a port where nobody listens."""
    with redis.Redis.from_url(services.addresses.broker_url) as broker:
        broker.delete(*QUEUES)  # other tests' nudges
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused, and nobody else's
        yield World(shell, services, database_url, monkeypatch, taken.getsockname()[1])


def test_each_symptom_has_its_world() -> None:
    """No section is without one, and each begins with how it is seen."""
    assert list(SECTIONS) == list(WORLDS)
    for name, section in SECTIONS.items():
        assert section.lstrip().startswith("**You see.**"), name
        parts = [section.find(f"**{part}**") for part in ("You see.", "It means.", "Do.", "It is over when")]
        assert -1 < parts[0] < parts[1] < parts[2] < parts[3], (name, parts)
        assert steps(name), name


@pytest.mark.parametrize("section", WORLDS)
def test_commands_print_what_is_shown(section: str, world: World) -> None:
    """Each command ends with its exit code and prints the lines that the runbook shows."""
    with closing(WORLDS[section](world)) as states:
        next(states)
        well = False
        for step in steps(section):
            if step.well and not well:
                next(states, None)
                well = True
            done = world.run(step.command)
            assert done.code == step.code, (step.command, done)
            printed = iter(_general(done.err) + _general(done.out))
            for line in _general("\n".join(step.shown)):
                assert line == "…" or any(_same(line, other) for other in printed), (step.command, line, done)


def _same(shown: str, printed: str) -> bool:
    return printed.startswith(shown[:-1].rstrip()) if shown.endswith("…") else printed == shown


def _general(output: str) -> list[str]:
    """Lines without what differs from run to run: ids, times, numbers, widths."""
    for pattern, word in (
        (r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID"),
        (r"\d{4}-\d\d-\d\d[ T][\d:.]+(?:Z|[+-][\d:]+)?", "TIME"),
        (r"\d+(?:\.\d+)?", "N"),
        (r"-{2,}", "-"),
        (r"[ \t]+", " "),
    ):
        output = re.sub(pattern, word, output)
    return [line for line in map(str.strip, output.splitlines()) if line]


def test_what_needs_a_running_set_is_a_scenario() -> None:
    """Every scenario that the runbook names is in the fault suite."""
    pairs = re.findall(r"scenarios? (\d+)(?: and (\d+))?", RUNBOOK)
    named = {int(number) for pair in pairs for number in pair if number}
    assert named >= {3, 6, 9, 25, 29}
    assert named - {each.number for each in scenarios()} == set()


@pytest.mark.parametrize("page", [RUNBOOK, OPERATIONS], ids=["runbook", "operations"])
def test_every_command_is_one(page: str) -> None:
    """What is shown in the text as a command of ours is one, with options that it has."""
    shown = re.findall(r"`(?:\$C|consilium) ([^`]+)`", page) + re.findall(r"^\$ consilium (.+)$", page, re.M)
    shown += re.findall(r"^(?:    )?\$C (.+)$", page, re.MULTILINE)
    assert shown
    for words in shown:
        rest = shlex.split(words.partition("  # ")[0])
        command: Any = get_command(application(rest[0]))
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            known = command.commands
            if rest[0] not in known:
                assert command.invoke_without_command, words
                break
            command = known[rest.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= options, words
