"""The story: start everything, submit, watch, kill a worker halfway, see all end, compare, write the page."""

from __future__ import annotations

import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import psycopg
from rich.console import Console, Group
from rich.live import Live

from db.engine import transaction
from db.queries import reports
from db.queries.documents import Vault
from db.queries.events import CHANNEL
from producers.case import load_case
from producers.cli.stack import DOORS, Stack
from producers.cli.up import stopping_on_signals
from producers.demo.board import board_view, featured_view, results_view, stage_of
from producers.demo.page import write_page
from producers.demo.score import score
from producers.demo.told import FEATURED, Told
from producers.intake import Order, accept
from producers.nudge import nudge
from producers.readers.ndjson import read_ndjson
from shared.registry import load_registry
from shared.sealing import SiteKey
from shared.settings import get_settings

OVERRIDES = {
    # deadlines are short here, hence leases too, so that a killed worker costs seconds
    "hold_s": 3,
    "lease_slack_s": 1,
    "stall_slack_s": 1,
    "sweep_every_s": 1,
    "backoff_base_s": 0.2,
    "backoff_cap_s": 2,
    "close_calls_after_s": 1,
    "history_purposes": "care,demo",
}
TIME_SCALE = 0.05
FAULTS = ("--faults", "off", "--rate-429", "0.04", "--rate-5xx", "0.04", "--rate-malformed", "0.03")

# Who holds calls at this moment: the busiest model worker is the one that is killed.
BUSIEST = """
    SELECT split_part(holder, '@', 1) AS worker, count(*) FROM owed_answers
    WHERE state = 'owed' AND claimed_until > now() AND holder LIKE 'models-%'
    GROUP BY 1 ORDER BY 2 DESC LIMIT 1
"""


def tell(home: Path, vignettes: Path, *, seed: int, keep: bool) -> int:
    """Run the demo; 0 if every case ended and nothing was paid twice."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    began = time.monotonic()
    console.print("[bold]Consilium[/bold]: three models over one patient, in a council. Every model here is")
    console.print("[bold]simulated[/bold]; PostgreSQL, Redis, Celery and HTTP are real. No medical device.\n")
    panel = ("--seed", str(seed), *FAULTS)
    unused = DOORS - {"flower"}
    stack = Stack(home, OVERRIDES, workers=2, time_scale=TIME_SCALE, panel_options=panel, without=unused)
    with stopping_on_signals(stack):
        try:
            with stack:
                stack.wait_ready()
                console.print(f"all {len(stack.names)} processes up after {time.monotonic() - began:.1f} s")
                told = _run(console, stack, vignettes, seed, began)
                page = home / "demo.html"
                write_page(page, told)
                _last_words(console, told, stack, page)
                if keep:
                    console.print("running until Ctrl-C …")
                    threading.Event().wait()
        except KeyboardInterrupt:
            console.print("stopped")
            if not keep:
                return 130
    ended = all(one.state != "open" for one in told.scored)
    return 0 if ended and told.paid_twice == 0 else 1


def _run(console: Console, stack: Stack, vignettes: Path, seed: int, began: float) -> Told:
    os.environ.update({k: v for k, v in stack.environ.items() if k.startswith("CONSILIUM_")})
    get_settings.cache_clear()
    settings = get_settings()
    url = stack.addresses.database_url
    vault = Vault(SiteKey(stack.addresses.site_key), settings.retention_days)
    registry = load_registry(settings.require_models_file())
    order = Order(strategy="RANDOM", n=3, purpose="demo", seed=seed)
    with vignettes.open("rb") as stream, transaction(url) as session:
        receipt = accept(
            session,
            read_ndjson(stream),
            order,
            settings=settings,
            registry=registry,
            vault=vault,
        )
    nudge(settings)
    console.print(f"submission {receipt.submission_id}: {receipt.accepted} vignettes accepted\n")
    killed = _watch(console, stack, url, vault, receipt.submission_id)
    with transaction(url) as session:
        scored = score(session, vault, receipt.submission_id)
        calls = reports.call_counts(session, receipt.submission_id)
    assert stack.panel_url is not None
    ledger = httpx.get(f"{stack.panel_url.removesuffix('/v1')}/ledger").json()
    return Told(
        submission=receipt.submission_id,
        killed=killed,
        seconds=time.monotonic() - began,
        scored=scored,
        calls=calls,
        overlaps_at_the_panel=int(ledger["overlaps"]),
        flower_url=stack.flower_url,
        home=stack.home,
    )


def _watch(console: Console, stack: Stack, url: str, vault: Vault, submission: uuid.UUID) -> str | None:
    """The live board until all have ended; halfway the busiest worker is killed. Its name and pid."""
    killed: str | None = None
    names: dict[Any, str] = {}
    said: set[str] = set()
    with (
        psycopg.connect(url, autocommit=True) as listening,
        Live(console=console, refresh_per_second=8, vertical_overflow="visible") as live,
    ):
        listening.execute(f"LISTEN {CHANNEL}")
        while True:
            with transaction(url) as session:
                rows = reports.board(session, submission)
                if not names:
                    cases = [load_case(session, vault, row["id"]) for row in rows]
                    names = {c.row["id"]: c.vignette.id for c in cases if c and c.vignette}
                featured = load_case(session, vault, rows[FEATURED]["id"])
            assert featured is not None
            if console.is_terminal:
                live.update(Group(board_view(rows, names), featured_view(featured)))
            else:
                _plain(console, rows, said)
            done = sum(row["answers"] + row["reviews"] for row in rows)
            owed = sum(row["n"] ** 2 for row in rows)
            if killed is None and done >= owed / 2:
                busiest = listening.execute(BUSIEST).fetchone()
                if busiest is not None:
                    name, calls = busiest
                    pid = stack.pid(name)
                    stack.kill(name)
                    killed = f"{name} (pid {pid})"
                    console.print(
                        f"[bold red]kill -9 {pid}[/bold red]: worker {name} dies with {calls} calls in flight"
                    )
            if all(row["state"] != "open" for row in rows):
                break
            for _event in listening.notifies(timeout=0.2, stop_after=1):
                pass
    if not console.is_terminal:
        console.print(featured_view(featured))
    return killed


def _plain(console: Console, rows: Any, said: set[str]) -> None:
    """Piped: a line when another quarter has ended."""
    ended = sum(row["state"] != "open" for row in rows)
    stages: dict[str, int] = {}
    for row in rows:
        stages[stage_of(row)] = stages.get(stage_of(row), 0) + 1
    mark = f"{ended * 4 // len(rows)}"
    if mark not in said:
        said.add(mark)
        console.print(" · ".join(f"{n} {stage.replace('_', ' ')}" for stage, n in stages.items()))


def _short(path: Path) -> str:
    """Relative where it lies below the folder one stands in."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _last_words(console: Console, told: Told, stack: Stack, page: Path) -> None:
    console.print()
    console.print(results_view(told.scored))
    counts = {verdict: told.verdicts.count(verdict) for verdict in ("better", "equal", "worse")}
    console.print(
        f"\nThe council was right in {told.right} of {len(told.scored)}, its members in "
        f"{told.members_right:.1f} on average. Against its best member (of each three, the one whose model "
        f"did best on the other cases): {', '.join(f'{k} {n}' for k, n in counts.items())}. "
        f"Simulated models, {len(told.scored)} cases: no evidence on real ones.",
        highlight=False,
    )
    console.print(f"\n[bold]{told.summary()}[/bold]", highlight=False)
    user, password = stack.flower_auth
    home = _short(told.home)
    console.print(
        f"\nthe same as a page   {_short(page)}\n"
        f"stored data          {home} (PostgreSQL, Redis, logs)\n"
        f"Flower               {told.flower_url}, user {user}, password {password}, while it runs\n\n"
        f"what to type next    CONSILIUM_HOME={home} .venv/bin/consilium up\n"
        f"and beside it        CONSILIUM_HOME={home} .venv/bin/consilium show "
        f"{told.featured.case.row['id']}\n\n"
        f"demo took {told.seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
