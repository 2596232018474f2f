"""`consilium submit`: a batch of vignettes in; stored before it is acknowledged."""

from __future__ import annotations

import hashlib
import io
import itertools
import secrets
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import IntegrityError

from db.queries import reports
from db.queries.events import CHANNEL
from producers.cli.acts import amount
from producers.cli.common import (
    EXIT_SET_ASIDE,
    Away,
    Format,
    database,
    emit,
    err,
    listening,
    out,
    registry,
    vault,
)
from producers.intake import Order, Receipt, StrictBatch, accept
from producers.nudge import nudge
from producers.readers.ndjson import lines_of, read_ndjson
from producers.readers.record import Read
from shared.errors import RecordError, SettingsError
from shared.schemas import PRIORITIES, PURPOSES
from shared.selection import Strategy
from shared.settings import get_settings

SHOWN_ERRORS = 20


@dataclass(frozen=True)
class _Input:
    name: str
    stream: IO[bytes]


def submit(
    files: Annotated[list[str], typer.Argument(help="NDJSON files, or - for standard input.")],
    source: Annotated[str, typer.Option(help="Who sends; see `consilium sources list`.")] = "local",
    strategy: Annotated[
        str, typer.Option(help="RANDOM, LOCAL, REMOTE, PERFORMANCE, CHEMISTRY or FIXED.")
    ] = "RANDOM",
    n: Annotated[int, typer.Option(min=2, max=12, help="Models in the ensemble.")] = 3,
    models: Annotated[str, typer.Option(help="For FIXED: the models' names, with commas.")] = "",
    priority: Annotated[str, typer.Option(help="urgent, routine or background.")] = "routine",
    purpose: Annotated[str, typer.Option(help="care, evaluation, training or demo.")] = "care",
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and content is accepted once.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of the draws; default: random.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="All that the batch may cost, in USD; see `consilium budget`.")
    ] = None,
    dial: Annotated[
        list[str] | None,
        typer.Option(help="severity=2, same_class=…, treats=…, grade=…: how lists are refined; else as set."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="One bad record rejects the batch.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all have ended.")] = False,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Submit vignettes: stored before it is acknowledged.

    Exit codes: 0 all accepted; 2 a setting or option is wrong; 3 --strict and one was bad; 4 the idempotency
    key was used for another body; 5 too few models are allowed; 6 some were set aside, the rest is accepted;
    7 no database.
    """
    _one_of("--priority", priority, PRIORITIES)
    _one_of("--purpose", purpose, PURPOSES)
    _one_of("--strategy", strategy.upper(), tuple(Strategy))
    if bool(models) != (strategy.upper() == Strategy.FIXED):
        raise SettingsError("--models and --strategy FIXED belong together: give both or neither")
    if idempotency_key == "":
        raise SettingsError("--idempotency-key is empty: leave it out, or give each batch a key of its own")
    settings = get_settings()
    settings.require_broker()  # a setting that is missing is said before anything is stored
    order = Order(
        source=source,
        strategy=strategy.upper(),
        n=n,
        models=tuple(m.strip() for m in models.split(",") if m.strip()),
        priority=priority,
        purpose=purpose,
        seed=secrets.randbits(62) if seed is None else seed,
        idempotency_key=idempotency_key,
        strict=strict,
        budget_usd=None if budget is None else amount(budget, "--budget"),
        dials=dials(dial or []),
    )
    with ExitStack() as stack:
        inputs = [_open(stack, name) for name in files]
        names: list[str] = []  # of each record's file, in order: printed here, stored nowhere
        try:
            with database() as session:
                receipt = accept(
                    session,
                    _records(inputs, names),
                    order,
                    body_digest=_digest(inputs),
                    settings=settings,
                    registry=registry(),
                    vault=vault(),
                )
        except StrictBatch as refused:
            _print_errors(refused.set_aside, names)
            raise
        except IntegrityError:
            raise SettingsError(
                "the same ids or the same idempotency key are being submitted at this moment: nothing was "
                "stored; submit again"
            ) from None
    nudged = nudge(settings)
    _report(receipt, names, nudged, format_)
    if wait:
        try:
            wait_for(receipt.submission_id, receipt.accepted)
        except Away:
            raise Away(
                f"PostgreSQL went away while waiting; what was accepted is stored and goes on: "
                f"consilium status {receipt.submission_id}"
            ) from None
        if format_ is Format.table:
            with database() as session:
                row = reports.submissions(session, receipt.submission_id)[0]
            states = ("completed", "needs_review", "failed", "cancelled")
            out.print(" · ".join(f"{row[s]} {s.replace('_', ' ')}" for s in states))
    if receipt.errors:
        raise typer.Exit(EXIT_SET_ASIDE)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{option} is one of {', '.join(known)}")


def _open(stack: ExitStack, name: str) -> _Input:
    if name == "-":
        # read whole: a second pass needs it, and clinical text does not go into a temporary file
        return _Input("standard input", io.BytesIO(sys.stdin.buffer.read()))
    path = Path(name)
    try:
        if path.is_file():
            return _Input(name, stack.enter_context(path.open("rb")))
        return _Input(name, io.BytesIO(path.read_bytes()))  # a pipe: <(zcat …)
    except OSError as error:
        raise SettingsError(f"{name} cannot be read: {error.strerror}") from None


def _digest(inputs: list[_Input]) -> str:
    digest = hashlib.sha256()
    for each in inputs:
        while block := each.stream.read(1 << 20):
            digest.update(block)
        each.stream.seek(0)
    return digest.hexdigest()


def dials(asked: list[str]) -> dict[str, float]:
    """NAME=NUMBER each. Raises `SettingsError`."""
    known = ("severity", "same_class", "treats", "grade")
    found = {}
    for each in asked:
        name, _, number = each.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise SettingsError(f"--dial {each}: not NAME=NUMBER, such as severity=2") from None
        if name not in known:
            raise SettingsError(f"--dial {each}: there is no dial {name}; there are {', '.join(known)}")
    return found


def _records(inputs: list[_Input], names: list[str]) -> Iterator[Read]:
    for each in inputs:
        for read in read_ndjson(lines_of(each.stream)):
            names.append(each.name)
            yield read


def _print_errors(errors: list[RecordError], names: list[str]) -> None:
    several = len(set(names)) > 1
    for error in itertools.islice(errors, SHOWN_ERRORS):
        file = f"{names[error.ordinal]}, " if several and error.ordinal is not None else ""
        field = f", field {error.path}" if error.path else ""
        err.print(
            f"{file}line {error.line}{field}: {error.reason}", style="yellow", markup=False, highlight=False
        )
    if len(errors) > SHOWN_ERRORS:
        err.print(f"… and {len(errors) - SHOWN_ERRORS} more", style="yellow")


def _report(receipt: Receipt, names: list[str], nudged: bool, format_: Format) -> None:
    if format_ is not Format.table:
        row = {
            "submission": str(receipt.submission_id),
            "accepted": receipt.accepted,
            "set_aside": len(receipt.errors),
            "repeated": receipt.repeated,
            "errors": [
                {"record": e.ordinal, "line": e.line, "code": e.code, "path": e.path, "reason": e.reason}
                for e in receipt.errors
            ],
        }
        emit([row], format_)
        return
    _print_errors(receipt.errors, names)
    again = " (accepted before under this key; nothing was added)" if receipt.repeated else ""
    out.print(
        f"submission {receipt.submission_id}: {receipt.accepted + len(receipt.errors)} records, "
        f"{receipt.accepted} accepted, {len(receipt.errors)} set aside{again}",
        highlight=False,
    )
    if not nudged:
        err.print("the broker is away: all is stored, and work begins when it is back", style="yellow")
    out.print(
        f"next: consilium status {receipt.submission_id}\n      consilium results {receipt.submission_id}",
        style="dim",
        highlight=False,
    )


def wait_for(submission_id: uuid.UUID, total: int) -> None:
    """Wait until a submission has finished: events are awaited, and the counts asked now and then."""
    with (
        listening(CHANNEL) as connection,
        Progress(
            TextColumn("ended"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=err,
            disable=not err.is_terminal,
        ) as progress,
    ):
        bar = progress.add_task("", total=total)
        said_at = time.monotonic()
        while True:
            with database() as session:
                row = reports.submissions(session, submission_id)[0]
            ended = total - int(row["open"])
            progress.update(bar, completed=ended)
            if row["state"] == "finished":
                return
            if not err.is_terminal and time.monotonic() - said_at > 15:
                said_at = time.monotonic()
                err.print(f"{ended} of {total} ended")
            for _event in connection.notifies(timeout=2, stop_after=1):
                pass
