"""What the figures share: a whole set of processes with the simulated panel, and what it uses.

    with Set(in_flight=200) as whole:
        print(whole.run(300).rate)

CPU and memory are read from /proc (Linux), bytes from Redis and PostgreSQL themselves.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis

from db.engine import transaction
from db.queries.documents import Vault
from db.queries.events import CHANNEL
from producers.cli.stack import DOORS, Stack
from producers.intake import Order, accept
from producers.nudge import nudge
from producers.readers.ndjson import read_ndjson
from shared.registry import load_registry
from shared.sealing import SiteKey
from shared.settings import read_settings

HERE = Path(__file__).parent
VIGNETTES = HERE.parent / "examples" / "vignettes.ndjson"
OURS = ("model workers", "other workers", "dispatcher", "beat", "flower", "submitter")
"""Kinds of process that are Consilium; the others are servers and the simulated models."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def kind_of(name: str) -> str:
    """What a process of the set is counted as. The worker named `conclude` dispatches and sweeps too."""
    if name.startswith("models-"):
        return "model workers"
    return {"conclude": "dispatcher", "urgent": "other workers", "quarantine": "other workers"}.get(
        name, name
    )


def vignettes(count: int) -> list[bytes]:
    """So many records made of the examples, each with an id of its own."""
    examples = [json.loads(line) for line in VIGNETTES.read_text(encoding="utf-8").splitlines()]
    return [
        json.dumps({**examples[k % len(examples)], "id": f"case-{uuid.uuid4()}"}).encode()
        for k in range(count)
    ]


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, of its children, and of those that have ended."""
    try:
        parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = _children(pid)
    except (FileNotFoundError, ProcessLookupError):  # ended just now: its parent counts it next time
        return 0.0
    return sum(map(int, parts[11:15])) * _TICK_S + sum(map(cpu_s, children))


def pss_mib(pid: int) -> float:
    """Proportional set size of a process and its children, MiB: what is shared is divided among sharers."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024
    return own + sum(pss_mib(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass
class Used:
    """What some consultations took: seconds, CPU seconds by kind of process, bytes."""

    consultations: int
    seconds: float
    cpu_s: dict[str, float] = field(default_factory=dict)
    redis_bytes: int = 0
    wal_bytes: int = 0

    @property
    def rate(self) -> float:
        """Consultations a second."""
        return self.consultations / self.seconds

    def cpu_ms(self, *kinds: str) -> float:
        """CPU milliseconds a consultation of these kinds of process."""
        return 1000 * sum(self.cpu_s.get(kind, 0.0) for kind in kinds) / self.consultations


class Set:
    """A set of processes with the panel, all of it in a throw-away folder, inside the `with`.

    `in_flight` calls are spread over `workers`; the limits learned per model are put out of the way.
    `delay_s` is what every call takes. `events`: with task events and Flower, else with neither. `bare`:
    servers and panel only. `overrides` are settings by field name.
    """

    def __init__(
        self,
        *,
        in_flight: int = 200,
        workers: int = 2,
        pool: str = "threads",
        delay_s: float = 0.0,
        time_scale: float = 1.0,
        events: bool = False,
        bare: bool = False,
        **overrides: Any,
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="consilium-figures-"))
        self.home.chmod(0o755)
        self._submitting_s = 0.0
        settings = {
            "window": in_flight,
            "source_window": in_flight,
            "model_slots": -(-in_flight // workers),
            "in_flight_start": in_flight,
            "in_flight_cap": in_flight,
            "recompute_every_s": 86_400,
            "idle_s": 3_600,
            "log_level": "INFO",
            **overrides,
        }
        ours = {f"models-{k + 1}" for k in range(workers)} | {"urgent", "conclude", "quarantine", "beat"}
        without: Collection[str] = DOORS - ({"flower"} if events else set()) | (ours if bare else set())
        self.stack = Stack(
            self.home,
            settings,
            workers=workers,
            panel=True,
            time_scale=time_scale,
            panel_options=("--faults", "off", "--delay", str(delay_s), "--seed", "5"),
            app="figures_app",
            pool=pool,
            more_environ={
                "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}",
                "FIGURES_EVENTS": "1" if events else "",
                "FIGURES_PREFETCH": "2" if pool == "gevent" else "1",
            },
            without=without,
        )

    def __enter__(self) -> Set:
        self.stack.__enter__()
        try:
            self.stack.wait_ready(timeout_s=120)
            at = self.stack.addresses
            self.settings = read_settings(
                self.home / "connection.env", **self.stack.settings.model_dump(exclude_unset=True)
            )
            self.url = at.database_url
            self.vault = Vault(SiteKey(at.site_key), 30)
            self.registry = load_registry(Path(self.stack.environ["CONSILIUM_MODELS_FILE"]))
            self.redis = redis.Redis.from_url(at.broker_url)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.__exit__()
        shutil.rmtree(self.home, ignore_errors=True)

    # --- feeding

    def submit(self, count: int, *, seed: int = 0) -> uuid.UUID:
        """Accept so many vignettes as `consilium submit` does; its CPU time is the submitter's."""
        lines = vignettes(count)
        began = time.process_time()
        with transaction(self.url) as session:
            receipt = accept(
                session,
                read_ndjson(lines),
                Order(purpose="evaluation", seed=seed),
                settings=self.settings,
                registry=self.registry,
                vault=self.vault,
            )
        self._submitting_s += time.process_time() - began
        return receipt.submission_id

    def run(self, count: int, *, seed: int = 0) -> Used:
        """So many consultations, from the nudge to the end of the last. The rest is measured with the CPU."""
        before = self._meters()
        submission = self.submit(count, seed=seed)
        began = time.monotonic()
        nudge(self.settings)
        self.wait(submission)
        return self.used(count, time.monotonic() - began, before)

    def used(self, count: int, seconds: float, before: Mapping[str, Any]) -> Used:
        """What was used since `before`."""
        after = self._meters()
        cpu: dict[str, float] = {}
        for name, now_s in after["cpu"].items():
            cpu[kind_of(name)] = cpu.get(kind_of(name), 0.0) + now_s - before["cpu"].get(name, 0.0)
        return Used(
            count,
            seconds,
            cpu,
            after["redis"] - before["redis"],
            after["wal"] - before["wal"],
        )

    def meters(self) -> Mapping[str, Any]:
        """What the meters say now, for `used`."""
        return self._meters()

    def wait(self, submission: uuid.UUID) -> None:
        """Wait until it is finished; raises `RuntimeError` if anything of it failed."""
        with psycopg.connect(self.url, autocommit=True) as listening:
            listening.execute(f"LISTEN {CHANNEL}")
            while (
                self.ask(listening, "SELECT state FROM submissions WHERE id = %s", submission) != "finished"
            ):
                for _event in listening.notifies(timeout=0.2, stop_after=1):
                    pass
            failed = self.ask(
                listening,
                "SELECT count(*) FROM consultations WHERE submission_id = %s AND state = 'failed'",
                submission,
            )
        if failed:
            raise RuntimeError(f"{failed} consultations failed: the figures would not be of whole work")

    # --- looking

    @staticmethod
    def ask(connection: psycopg.Connection[Any], statement: str, *values: Any) -> Any:
        """The first value of a statement's first row."""
        return (connection.execute(statement, values).fetchone() or (None,))[0]

    def panel(self, path: str, body: Any = None) -> Any:
        """The simulated panel's ledger and controls: GET without a body, POST with one."""
        assert self.stack.panel_url is not None
        url = self.stack.panel_url.removesuffix("/v1") + path
        made = httpx.get(url, timeout=30) if body is None else httpx.post(url, json=body, timeout=30)
        made.raise_for_status()
        return made.json()

    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {name: pid for name in self.stack.names if (pid := self.stack.pid(name)) is not None}

    def memory_mib(self, kind: str = "model workers") -> float:
        """PSS of all processes of that kind, MiB."""
        return sum(pss_mib(pid) for name, pid in self.pids().items() if kind_of(name) == kind)

    def _meters(self) -> Mapping[str, Any]:
        info = self.redis.info("stats")
        with psycopg.connect(self.url, autocommit=True) as connection:
            wal = int(self.ask(connection, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
        return {
            "cpu": {
                **{name: cpu_s(pid) for name, pid in self.pids().items()},
                "submitter": self._submitting_s,
            },
            "redis": info["total_net_input_bytes"] + info["total_net_output_bytes"],
            "wal": wal,
        }


def middle(values: Sequence[float], form: str = ".1f") -> str:
    """Median and range: "12.3 (11.0–14.9)"."""
    ordered = sorted(values)
    return f"{statistics.median(ordered):{form}} ({ordered[0]:{form}}–{ordered[-1]:{form}})"


def machine() -> str:
    """Under what it was measured: cores, and the load that this machine bore before."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    said = f"{cores} cores, load {load:.1f} before"
    return said if load < 0.5 * cores else f"{said}: TAKEN UNDER OTHER LOAD"
