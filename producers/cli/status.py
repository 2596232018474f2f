"""`consilium status`: how far everything is, from PostgreSQL."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict
from typing import Annotated

import typer

from db.queries import budgets, pauses, receiving, reports
from db.queries.pauses import Paused
from db.queries.receiving import ABANDONED_S, Incomplete
from producers.cli.common import Format, NotFound, database, emit, out, table
from shared.settings import get_settings

COUNTS = ("completed", "needs_review", "failed", "cancelled", "open")


def status(
    submission: Annotated[
        uuid.UUID | None, typer.Argument(help="One submission; none: the newest 20.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Counts by state, what is open and why, what failed and why. The counts add up."""
    with database() as session:
        found = reports.submissions(session, submission)
        stages = reports.stages(session, submission, stale_s=get_settings().heartbeat_stale_s)
        failures = reports.failures(session, submission)
        calls = reports.call_counts(session, submission)
        caps = budgets.of_submissions(session, submission)
        paused = pauses.paused(session)
        incomplete = receiving.incomplete(session, submission)
    if submission is not None and not found:
        raise NotFound(f"no submission {submission}: see `consilium status`")
    if format_ is Format.json:
        print(
            json.dumps(
                {
                    "submissions": found,
                    "open": stages,
                    "ended": failures,
                    "calls": calls,
                    "budgets": caps,
                    "paused": _paused(paused),
                    "receiving": [asdict(each) for each in incomplete],
                },
                default=str,
                indent=2,
            )
        )
        return
    rows = [
        {
            "submission": row["id"],
            "source": row["source"],
            "state": row["state"],
            "purpose": row["purpose"],
            "strategy": f"{row['strategy']} {row['n']}",
            "records": row["records"],
            "set_aside": row["set_aside"],
            **{name: row[name] for name in COUNTS},
        }
        for row in found
    ]
    if format_ is not Format.table:
        emit(rows, format_)
        return
    if not rows:
        out.print("nothing submitted yet: consilium submit examples/vignettes.ndjson --wait")
        return
    out.print(table(rows))
    for each in incomplete:
        out.print(f"\n{_incomplete(each)}", style="yellow", highlight=False)
    if stages:
        out.print(table(stages, title="\nopen"))
    if names := _paused(paused):
        out.print(f"\npaused: {', '.join(names)}", style="yellow", highlight=False)
    if failures:
        out.print(table(failures, title="\nfor a person"))
    known = calls["cost_usd"] if calls["calls"] else 0
    cost = "unknown" if known is None else f"{known:.4f} USD"
    out.print(
        f"\ncalls {calls['calls']} · lost with their worker {calls['lost']} · given up {calls['given_up']} · "
        f"failed {calls['failed']} · paid twice {calls['dup'] + calls['overlap']} · cost {cost}"
        f" ({calls['unpriced']} calls not priced)",
        highlight=False,
    )
    if submission is not None and caps[0]["budget_usd"] is not None:
        [cap] = caps
        out.print(
            f"budget {cap['budget_usd']:.4f} USD · spent {cap['spent_usd']:.4f} · "
            f"expected for the rest {cap['expected_usd']:.4f} · held for it {cap['held']}",
            highlight=False,
        )


def _incomplete(each: Incomplete) -> str:
    """What a submission waits for that is not all there, and what becomes of it."""
    left = max(0.0, ABANDONED_S - each.idle_s)
    return (
        f"{each.id} is being received: {each.records} records so far, the last {each.idle_s:.0f} s ago; none "
        "of them begins before all are there. If its command ended early, repeat it with its "
        f"--idempotency-key; else it is cancelled in {left / 60:.0f} min"
    )


def _paused(paused: Paused) -> list[str]:
    """What an operator has paused, as `consilium resume` takes it."""
    sources = [f"source {name}" for name in sorted(paused.sources)]
    return ["everything"] * paused.everything + sources + [f"model {name}" for name in sorted(paused.models)]
