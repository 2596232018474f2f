"""The bench: a running set with the simulated panel, ways to break it, and the books.

with Bench(THREADS, seed=7) as bench:
    bench.begin(limit_s=60)
    submission = bench.submit(50)
    bench.finish(submission, allowed=8)
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis
from sqlalchemy import text

from db.engine import transaction
from db.queries.documents import Vault
from db.queries.events import CHANNEL
from embedded.home import Home
from producers.cli.stack import Stack
from producers.intake import Order, accept
from producers.nudge import nudge, send
from producers.readers.ndjson import read_ndjson
from shared.broker import WIPE_MARKER
from shared.registry import load_registry
from shared.sealing import SiteKey
from shared.settings import read_settings
from tests.faults import progress
from tests.faults.books import Books, Tally, read_books
from tests.faults.hooks import VARIABLE, Hooks
from tests.faults.planted import vignettes
from tests.faults.progress import Now
from tests.faults.registry import BASE, Kind
from tests.homes import new_home

ROOT = Path(__file__).parents[2]
SETTLE_S = 10.0  # so long may calls that nobody waits for go on after the end

RESTALL = text("UPDATE consultations SET stall_s = :stall_s WHERE submission_id = :id")
IDS = text("SELECT id FROM consultations WHERE submission_id = :id ORDER BY id")


class Failed(Exception):
    """The pass criterion of a scenario does not hold; says what was expected and what was found."""


class Bench:
    """A running set of one kind. `rng` is drawn from the seed anew by each `begin`."""

    def __init__(
        self, kind: Kind, *, seed: int, without: frozenset[str] = frozenset(), keep: bool = False
    ) -> None:
        self.kind, self.seed = kind, seed
        self._without, self._keep = without, keep
        self.home = new_home(f"consilium-faults-{kind.name}-")
        self.hooks = Hooks(self.home / "hooks")
        self.hooks.folder.mkdir()
        self.tally = Tally()
        self.rng = random.Random(seed)
        self._fault_ends: list[datetime] = []
        self._open: list[uuid.UUID] = []  # not in the row yet
        self._deadline = float("inf")
        self._listening: psycopg.Connection[Any] | None = None
        self.stack: Stack

    def __enter__(self) -> Bench:
        kind = self.kind
        settings = {**BASE, **kind.settings}
        port = Home(self.home).port("panel")  # remembered: the set will take the same
        if kind.models is not None:
            file = self.home / "more-models.toml"
            file.write_text(kind.models(f"http://127.0.0.1:{port}/v1"), encoding="utf-8")
            settings["models_file"] = file
        self.stack = Stack(
            self.home,
            settings,
            workers=kind.workers,
            panel=True,
            time_scale=kind.time_scale,
            panel_options=kind.panel_options,
            app="tests.faults.app",
            pool=kind.pool,
            more_environ={
                "PYTHONPATH": str(ROOT),
                VARIABLE: str(self.hooks.folder),
                "CONSILIUM_FAULTS_WITHOUT": ",".join(sorted(self._without)),
                **kind.environ,
            },
            without=kind.without,
        )
        self.stack.__enter__()
        try:
            self.stack.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        self.settings = read_settings(self.home / "connection.env", **settings, home=self.home)
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.__exit__()
        if self._keep:
            print(f"kept: {self.home}")
        else:
            shutil.rmtree(self.home, ignore_errors=True)

    # --- the run of one scenario

    def late(self) -> bool:
        """Whether the scenario's time is over."""
        return time.monotonic() >= self._deadline

    def begin(self, *, limit_s: float = 90, what: str = "") -> None:
        """Everything up, no hook armed, the panel instant and faultless, its ledger and the row empty."""
        self._deadline = time.monotonic() + limit_s
        self.rng = random.Random(f"{self.seed} {what}")
        self.tally = Tally()
        self.hooks.clear()
        self.stack.wait_ready()
        if "sweeper" not in self._without:  # else the first sweep would take the new broker for a wiped one
            self.wait(lambda: bool(self.broker().exists(WIPE_MARKER)), "the first sweep")
        self._fresh()

    def _fresh(self) -> None:
        self._fault_ends, self._open = [], []
        self.panel("/control/faults", "off")
        self.panel("/control/delay", {"seconds": 0})
        self.panel("/control/limits", {})
        self.panel("/ledger/reset", {})

    def finish(self, *ids: uuid.UUID, allowed: int = 0, failed: int | None = 0) -> Books:
        """Wait for the end, close the books and add them to the row; raises `Failed` where they do not hold.

        All calls since the last `finish` (or `begin`) must be those of the submissions named. `allowed`: most
        extra calls; `failed`: consultations that end failed, None for any number. Then the panel is instant
        again and its ledger empty, for a second part of the same scenario.
        """
        self.until(lambda now: now.unfinished == 0, *ids, what="the end")
        books = self._books(ids, allowed, failed, settle_s=SETTLE_S)
        self._add(books, ids, allowed)
        if books.faults:
            raise Failed("; ".join(books.faults))
        self._fresh()
        return books

    def abandon(self) -> None:
        """Add what a failed scenario submitted and did not come to the end of to the row, as it stands."""
        if self._open:
            ids = tuple(self._open)
            self._add(self._books(ids, 0, None, settle_s=0), ids, 0)

    def _books(
        self, ids: tuple[uuid.UUID, ...], allowed: int, failed: int | None, *, settle_s: float
    ) -> Books:
        """The books, read again until they hold or `settle_s` is over: calls may still be open."""
        until = time.monotonic() + settle_s
        while True:
            ledger = self.panel("/ledger")
            with self.connect() as connection:
                books = read_books(connection, ledger, ids, allowed=allowed, failed=failed)
            if (not books.faults and not ledger["open"]) or time.monotonic() > until:
                return books
            time.sleep(0.1)

    def _add(self, books: Books, ids: tuple[uuid.UUID, ...], allowed: int) -> None:
        row, self._open = self.tally, []
        for name in ("consultations", "lost", "double", "early", "overlap", "extra"):
            setattr(row, name, getattr(row, name) + getattr(books, name))
        row.allowed += allowed
        with self.connect() as connection:
            for at in self._fault_ends:
                row.recovery_s += progress.recovery_s(connection, ids, at)

    def expect(self, what: str, holds: bool, found: object = "") -> None:
        """Raise `Failed` unless it holds: "expected <what>, found <found>"."""
        if not holds:
            raise Failed(f"expected {what}, found {found}")

    # --- feeding and looking

    @property
    def url(self) -> str:
        """PostgreSQL's address."""
        return self.stack.addresses.database_url

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of our own, autocommit."""
        return psycopg.connect(self.url, autocommit=True)

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of one statement (none for one that gives no rows)."""
        with self.connect() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def broker(self) -> redis.Redis:
        """A client of the broker."""
        return redis.Redis.from_url(self.stack.addresses.broker_url, socket_timeout=5)

    def panel(self, path: str, body: Any = None) -> Any:
        """The simulated panel's ledger and controls: GET without a body, POST with one."""
        assert self.stack.panel_url is not None
        url = self.stack.panel_url.removesuffix("/v1") + path
        made = httpx.get(url, timeout=10) if body is None else httpx.post(url, json=body, timeout=10)
        made.raise_for_status()
        return made.json()

    def delay(self, seconds: float) -> None:
        """How long every call takes from now on."""
        self.panel("/control/delay", {"seconds": seconds})

    def send(self, task: str, *args: Any, queue: str = "conclude") -> bool:
        """Send a task by its name, as a producer does; False if the broker is away."""
        return send(self.settings, task, args, queue)

    def submit(
        self,
        n: int,
        *,
        stall_s: float | None = None,
        known: Callable[[list[str]], None] | None = None,
        nudged: bool = True,
        **order: Any,
    ) -> uuid.UUID:
        """Accept so many vignettes as `consilium submit` does, and nudge.

        `stall_s` replaces the stall time that was derived from the seats' leases. `known` is told the
        consultations' ids before the commit, so before anybody can work on them.
        """
        with transaction(self.url) as session:
            receipt = accept(
                session,
                read_ndjson(vignettes(n)),
                Order(**{"purpose": "evaluation", "seed": self.rng.getrandbits(60), **order}),
                settings=self.settings,
                registry=load_registry(Path(self.stack.environ["CONSILIUM_MODELS_FILE"])),
                vault=Vault(SiteKey(self.stack.addresses.site_key), 30),
            )
            mine = {"id": receipt.submission_id}
            if stall_s is not None:
                session.execute(RESTALL, {**mine, "stall_s": stall_s})
            if known is not None:
                known([str(id_) for id_ in session.execute(IDS, mine).scalars()])
        self._open.append(receipt.submission_id)
        if nudged:
            nudge(self.settings)
        return receipt.submission_id

    def typed(self, *words: str) -> subprocess.Popen[bytes]:
        """`consilium …` as a person types it; `communicate` gives it its input and its end."""
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("consilium")), *words],
            env=self.stack.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def cli(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """`consilium …` to its end."""
        with self.typed(*words) as process:
            output, errors = process.communicate(stdin, timeout=60)
            return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def now(self, *ids: uuid.UUID) -> Now:
        """How far these submissions are."""
        with self.connect() as connection:
            return progress.now(connection, ids)

    def until(
        self,
        holds: Callable[[Now], bool],
        *ids: uuid.UUID,
        what: str = "that state",
        within_s: float = float("inf"),
    ) -> Now:
        """Wait until the submissions are so far; events wake it. PostgreSQL may be away meanwhile.

        Raises `Failed` when the scenario's time is over, or `within_s`.
        """
        last: Now | None = None
        for listening in self._looks(within_s):
            if listening is None:
                continue
            with contextlib.suppress(psycopg.OperationalError):
                last = progress.now(listening, ids)
                if holds(last):
                    return last
        raise Failed(f"expected {what} within the time limit, found {last}")

    @contextlib.contextmanager
    def timed(self, most_s: float, what: str) -> Iterator[None]:
        """Raise `Failed` if the body takes longer."""
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self.expect(f"{what} within {most_s:g} s", took <= most_s, f"{took:.1f} s")

    def wait(self, holds: Callable[[], bool], what: str = "that state") -> None:
        """Wait until a condition of any kind holds. Raises `Failed` when the scenario's time is over.

        A server of ours may be away meanwhile: its client's error means "not yet".
        """
        for _ in self._looks():
            with contextlib.suppress(psycopg.OperationalError, redis.RedisError, httpx.TransportError):
                if holds():
                    return
        raise Failed(f"expected {what} within the time limit")

    def _looks(self, within_s: float = float("inf")) -> Iterator[psycopg.Connection[Any] | None]:
        """A listening connection again and again: at once, at an event, at the latest every 50 ms."""
        with contextlib.ExitStack() as stack:
            listening: psycopg.Connection[Any] | None = None
            until = min(self._deadline, time.monotonic() + within_s)
            while time.monotonic() < until:
                try:
                    if listening is None:
                        listening = stack.enter_context(self.connect())
                        listening.execute(f"LISTEN {CHANNEL}")
                    yield listening
                    for _event in listening.notifies(timeout=0.05, stop_after=1):
                        pass
                except psycopg.OperationalError:
                    listening = None
                    yield None
                    time.sleep(0.05)

    # --- breaking

    @property
    def workers(self) -> list[str]:
        """Names of the workers that call models for routine work."""
        return [name for name in self.stack.names if name.startswith("models-")]

    def fault(self, count: int = 1) -> None:
        """Book faults that were injected and are over now; recovery is measured from here."""
        self.tally.faults += count
        self._fault_ends.append(datetime.now(UTC))

    def kill(self, name: str) -> int:
        """SIGKILL a process of the set (it is restarted); how many claims it held just before."""
        [(held,)] = self.ask(
            "SELECT count(*) FROM owed_answers WHERE state = 'owed' AND claimed_until > now() "
            "AND starts_with(holder, %s || '@')",
            name,
        )
        self.stack.kill(name)
        self.fault()
        return int(held)

    def flush(self) -> None:
        """FLUSHALL."""
        self.broker().flushall()
        self.fault()

    @contextlib.contextmanager
    def outage(self, name: str, down_s: float) -> Iterator[None]:
        """SIGKILL a server that stays down so long; the body runs meanwhile, the end is when it serves."""
        self.stack.kill(name, down_s=down_s)
        yield
        self.stack.wait_ready([name])
        self.fault()

    @contextlib.contextmanager
    def hang(self, name: str) -> Iterator[None]:
        """SIGSTOP a process while the body runs, then SIGCONT."""
        self.stack.signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            self.stack.signal(name, signal.SIGCONT)
            self.fault()

    def children(self, name: str) -> list[int]:
        """Process ids of a prefork worker's pool."""
        parent = self.stack.pid(name)
        found = Path(f"/proc/{parent}/task/{parent}/children")
        return [int(pid) for pid in found.read_text().split()] if parent and found.exists() else []

    def kill_child(self, pid: int) -> None:
        """SIGKILL one process of a pool."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.fault()
