"""`consilium failed`: the dead letters, and what to do with them."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

import typer

from db.queries import dead_letters, reports
from db.queries.dead_letters import Which
from producers.cli.acts import age, go_on
from producers.cli.common import Format, NotFound, database, emit, out, table
from shared.errors import SettingsError
from shared.settings import get_settings

SHOWN = 50
"""Most lines for a person; programs get all."""

app = typer.Typer(
    help="Dead letters: consultations that failed, until they are requeued or discarded.",
    no_args_is_help=True,
)

Ids = Annotated[list[uuid.UUID] | None, typer.Argument(metavar="CONSULTATION", help="See `failed list`.")]
OfSubmission = Annotated[uuid.UUID | None, typer.Option("--submission", help="Only of this submission.")]
OfReason = Annotated[
    str | None, typer.Option("--reason", help="Only these: no_quorum, expired, no_progress.")
]
Older = Annotated[str | None, typer.Option("--older-than", help="Failed longer ago than 90s, 15m, 2h, 3d.")]
Newer = Annotated[str | None, typer.Option("--newer-than", help="Failed less long ago than that.")]
Every = Annotated[bool, typer.Option("--all", help="All there are: needed where nothing else says which.")]
AsFormat = Annotated[Format, typer.Option("--format")]


@app.command("list")
def list_(
    ids: Ids = None,
    submission: OfSubmission = None,
    reason: OfReason = None,
    older_than: Older = None,
    newer_than: Newer = None,
    format_: AsFormat = Format.table,
) -> None:
    """Dead letters, the newest first: `errors` is what became of each seat's answer."""
    which = _which(ids, submission, reason, older_than, newer_than)
    with database() as session:
        total = dead_letters.count(session, which)
        rows = dead_letters.find(session, which, most=SHOWN if format_ is Format.table else None)
        reasons = dead_letters.reasons(session)
    if format_ is not Format.table:
        emit(rows, format_)
        return
    if not rows:
        out.print(_none(which, reasons), highlight=False)
        return
    out.print(table([{**row, "failed_at": f"{row['failed_at']:%Y-%m-%d %H:%M:%S}Z"} for row in rows]))
    more = f"{total - len(rows)} more · " if total > len(rows) else ""
    by_reason = " · ".join(f"{n} {name}" for name, n in reasons.items())
    out.print(f"\n{more}in all: {by_reason}", highlight=False)
    out.print("next: consilium failed show CONSULTATION\n      consilium failed requeue --reason REASON")


@app.command("show")
def show(
    consultation: Annotated[uuid.UUID, typer.Argument(help="See `consilium failed list`.")],
    format_: AsFormat = Format.table,
) -> None:
    """One dead letter: seats with all their occupants, what each owed, and every call. No clinical text."""
    with database() as session:
        found = dead_letters.one(session, consultation)
        owed = dead_letters.owed(session, consultation)
        calls = reports.calls(session, consultation)
    if found is None:
        raise NotFound(f"no consultation {consultation}: see `consilium failed list`")
    if found["state"] != "failed":
        raise NotFound(
            f"{consultation} is {found['state']}, no dead letter: see `consilium show {consultation}`"
        )
    if format_ is not Format.table:
        # one thing, whose parts differ in shape: no table of a program's
        print(json.dumps({**found, "owed": owed, "calls": calls}, default=str, indent=_indent(format_)))
        return
    for name, value in found.items():
        out.print(f"{name.replace('_', ' '):<13} {'·' if value is None else value}", highlight=False)
    out.print(table(owed, title="\nowed"))
    out.print(table(calls, title="\ncalls") if calls else "\nno call was made")
    out.print(f"\nnext: {_next(found)}", highlight=False)


@app.command("requeue")
def requeue(
    ids: Ids = None,
    submission: OfSubmission = None,
    reason: OfReason = None,
    older_than: Older = None,
    newer_than: Newer = None,
    every: Every = False,
    format_: AsFormat = Format.table,
) -> None:
    """Put them back: stored answers stay and are not paid again, the rest is asked for anew."""
    which = _which(ids, submission, reason, older_than, newer_than, every=every)
    settings = get_settings()
    settings.require_broker()
    with database() as session:
        done = dead_letters.requeue(
            session, which, urgent_s=settings.deadline_urgent_s, routine_s=settings.deadline_routine_s
        )
        reasons = dead_letters.reasons(session)
    if done.ids:
        go_on()
    if format_ is not Format.table:
        emit([{"requeued": len(done.ids), "left": len(done.left)}], format_)
        _require_all(which, {*done.ids, *done.left})
        return
    out.print(
        f"{len(done.ids)} requeued" if done.ids or done.left else _none(which, reasons), highlight=False
    )
    if done.left:
        out.print(
            f"{len(done.left)} left as they are: their text was erased or their submission is closed; "
            "consilium failed discard takes them off the list",
            highlight=False,
        )
    if done.ids:
        out.print(f"next: consilium status {submission or ''}".rstrip(), highlight=False)
    _require_all(which, {*done.ids, *done.left})


@app.command("discard")
def discard(
    ids: Ids = None,
    submission: OfSubmission = None,
    reason: OfReason = None,
    older_than: Older = None,
    newer_than: Newer = None,
    every: Every = False,
    format_: AsFormat = Format.table,
) -> None:
    """Take them off the list: they stay failed, and are never put back."""
    which = _which(ids, submission, reason, older_than, newer_than, every=every)
    with database() as session:
        found = {row["consultation"] for row in dead_letters.find(session, which)} if which.ids else set()
        done = dead_letters.discard(session, which)
        reasons = dead_letters.reasons(session)
    if format_ is not Format.table:
        emit([{"discarded": done}], format_)
        _require_all(which, found)
        return
    out.print(f"{done} discarded: failed for good" if done else _none(which, reasons), highlight=False)
    if done:
        out.print("next: consilium failed list")
    _require_all(which, found)


def _which(
    ids: list[uuid.UUID] | None,
    submission: uuid.UUID | None,
    reason: str | None,
    older_than: str | None,
    newer_than: str | None,
    *,
    every: bool | None = None,
) -> Which:
    """What was asked for. `every`: whether --all was given, None where all is the rule."""
    which = Which(
        tuple(ids or ()), submission, reason, age(older_than, "--older-than"), age(newer_than, "--newer-than")
    )
    if every is not None and every != which.anything:
        raise SettingsError(
            "say which: ids, --submission, --reason, an age, or --all alone for all there are"
        )
    return which


def _none(which: Which, reasons: dict[str, int]) -> str:
    if not reasons:
        return "no dead letters"
    there = ", ".join(f"{n} {name}" for name, n in reasons.items())
    return f"no dead letter is so; there are {there}" if not which.anything else "no dead letters"


def _require_all(which: Which, found: set[Any]) -> None:
    """Raises `NotFound` where some of the ids that were asked for are no dead letters, after all others."""
    missing = [str(id_) for id_ in which.ids if id_ not in found]
    if missing:
        raise NotFound(f"no dead letter: {', '.join(missing)}; see `consilium failed show` of each")


def _next(found: dict[str, Any]) -> str:
    if found["discarded_at"] is not None:
        return f"it was discarded; consilium status {found['submission']}"
    verb = "discard" if found["erased"] else "requeue"
    return f"consilium failed {verb} {found['consultation']}"


def _indent(format_: Format) -> int | None:
    return None if format_ is Format.ndjson else 2
