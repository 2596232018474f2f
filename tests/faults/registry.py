"""Scenarios by number, and the kinds of running sets they need: scenarios of one kind share a set."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from producers.cli.stack import DOORS

if TYPE_CHECKING:
    from tests.faults.bench import Bench

Run = Callable[["Bench", int], None]


class Skipped(Exception):
    """This machine cannot do it; the reason stands in the table."""


BASE: Mapping[str, Any] = {
    # short deadlines, hence short leases: what waits for a clock waits seconds
    "hold_s": 15,  # a crashed PostgreSQL needs a while to come back on a busy machine
    "lease_slack_s": 1,
    "stall_slack_s": 1,
    "sweep_every_s": 1,
    "heartbeat_stale_s": 6,  # a scaled minute: so long nothing is resumed after a heartbeat was lost
    "backoff_base_s": 0.1,
    "backoff_cap_s": 1,
    "close_calls_after_s": 1,
    "recompute_every_s": 3600,
    "window": 40,
    "source_window": 40,
    "model_slots": 8,
}
STALL_S = 6.0
"""For `Bench.submit`: what a fault has broken goes on after this, not after the longest lease."""


@dataclass(frozen=True, eq=False)
class Kind:
    """A running set: settings over `BASE` by field name, and what `Stack` takes beside them.

    `models` makes another models.toml from the panel's address (`http://…/v1`). The panel is instant and
    without faults when a scenario begins, unless `panel_options` say otherwise. `beside`: what may run
    at the same time: any other set, those that wait more than they work, or nothing.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    pool: str = "threads"
    workers: int = 2
    time_scale: float = 0.02
    panel_options: tuple[str, ...] = ("--faults", "off", "--delay", "0", "--seed", "5")
    environ: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = DOORS
    models: Callable[[str], str] | None = None
    beside: Literal["any", "paced", "nothing"] = "any"


THREADS = Kind("threads")
PREFORK = Kind("prefork", {"hold_s": 3, "lease_slack_s": 3, "model_slots": 4}, pool="prefork")


@dataclass(frozen=True)
class Scenario:
    """One row of the table. `limit_s` bounds it; `variant` tells rows of one number apart."""

    number: int
    name: str
    run: Run
    size: int
    kind: Kind
    variant: str = ""
    limit_s: float = 150

    @property
    def key(self) -> str:
        """Its name on the command line and in the table: `3 threads`, or `5`."""
        return f"{self.number} {self.variant}".strip()


_all: dict[str, Scenario] = {}


def scenario(
    number: int, name: str, *, size: int, kind: Kind = THREADS, variant: str = "", limit_s: float = 150
) -> Callable[[Run], Run]:
    """Register a scenario: a function of (bench, size) whose docstring is its pass criterion."""

    def register(run: Run) -> Run:
        made = Scenario(number, name, run, size, kind, variant, limit_s)
        if made.key in _all:
            raise ValueError(f"scenario {made.key} is there already")
        _all[made.key] = made
        return run

    return register


def scenarios() -> list[Scenario]:
    """All of them, by number; imports every module of tests.faults.scenarios."""
    package = importlib.import_module("tests.faults.scenarios")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return sorted(_all.values(), key=lambda each: (each.number, each.variant))
