"""`consilium submit`: a batch of vignettes in; stored before it is acknowledged."""

from __future__ import annotations

import secrets
from bisect import bisect
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from sqlalchemy.exc import IntegrityError

from db.queries import reports
from producers.cli.acts import amount
from producers.cli.bar import Bar
from producers.cli.common import (
    EXIT_SET_ASIDE,
    Away,
    Busy,
    Format,
    database,
    emit,
    err,
    out,
    registry,
    vault,
)
from producers.cli.watch import follow
from producers.intake import IdempotencyConflict, Order, Receipt, StrictBatch, receive
from producers.nudge import nudge
from producers.readers.files import Input, InputFormat, Per, open_inputs, read_inputs, sizes
from producers.readers.mapping import load_mapping
from producers.readers.quarantine import quarantine
from producers.readers.record import Read
from shared.errors import ConsiliumError, RecordError, SettingsError
from shared.family_mix import Families
from shared.schemas import PRIORITIES, PURPOSES
from shared.selection import Strategy
from shared.settings import get_settings

if TYPE_CHECKING:
    from producers.readers.fhir import Account

SHOWN_ERRORS = 20
EXIT_INTERRUPTED = 130


@dataclass
class _Way:
    """How far it is, and how to go on where it ends early."""

    again: str  # what goes on
    several: bool  # more than one file
    stored: int = 0  # records committed
    complete: bool = False
    said: bool = False
    files: list[str] = field(default_factory=list)  # printed here, stored nowhere
    begins: list[int] = field(default_factory=list)  # ordinals at which the records of each begin
    seen: int = 0

    def records(self, reads: Iterator[Read]) -> Iterator[Read]:
        """The same, watched: where the records of each file begin."""
        for read in reads:
            if not self.files or self.files[-1] != read.file:
                self.files.append(read.file)
                self.begins.append(self.seen)
            self.seen += 1
            yield read

    def file(self, error: RecordError) -> str:
        """The file of a record, where there are several."""
        if not self.several or error.ordinal is None:
            return ""
        return self.files[bisect(self.begins, error.ordinal) - 1]

    def on(self, receipt: Receipt) -> None:
        """A chunk is committed; once, where more is to come, how to go on is said."""
        self.stored, self.complete = receipt.records, receipt.complete
        if not (self.complete or self.said) and receipt.records > receipt.known:
            self.said = True
            err.print(f"if this is interrupted, go on with: {self.again}", markup=False, highlight=False)

    @property
    def aside(self) -> str:
        """What writes the quarantine file afterwards."""
        return f"{self.again} and --quarantine FILE"

    def ended_early(self) -> None:
        """What is stored, and how to go on; nothing where nothing is."""
        if self.complete:  # only the quarantine file was still to be written
            said = f"all {self.stored} records are stored; what was set aside, to be mended: {self.aside}"
        elif self.stored:
            said = (
                f"{self.stored} records are stored, and none of them begins before all are; go on within an "
                f"hour, or they are erased: {self.again}"
            )
        else:
            return
        err.print(said, markup=False, highlight=False)


def submit(
    files: Annotated[list[str], typer.Argument(help="Files, gzip or not; - is standard input.")],
    source: Annotated[str, typer.Option(help="Who sends; see `consilium sources list`.")] = "local",
    strategy: Annotated[
        str, typer.Option(help="RANDOM, LOCAL, REMOTE, PERFORMANCE, CHEMISTRY or FIXED.")
    ] = "RANDOM",
    n: Annotated[int, typer.Option(min=2, max=12, help="Models in the ensemble.")] = 3,
    models: Annotated[str, typer.Option(help="For FIXED: the models' names, with commas.")] = "",
    families: Annotated[str, typer.Option(help="Of a drawn ensemble: any, same or mixed.")] = "any",
    priority: Annotated[str, typer.Option(help="urgent, routine or background.")] = "routine",
    purpose: Annotated[str, typer.Option(help="care, evaluation, training or demo.")] = "care",
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="The same key and content is accepted once; what was interrupted goes on."),
    ] = None,
    input_format: Annotated[
        InputFormat, typer.Option(help="Where content and name do not tell: ndjson, json, csv or fhir.")
    ] = InputFormat.auto,
    mapping: Annotated[
        Path | None, typer.Option(help="TOML: which column of a CSV file is what; see docs/readers.md.")
    ] = None,
    per: Annotated[str, typer.Option(help="Of FHIR, a record for each: patient or encounter.")] = "patient",
    quarantine_: Annotated[
        Path | None,
        typer.Option("--quarantine", help="Write what is set aside here, to be mended and sent again."),
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
    """Submit vignettes (NDJSON, JSON, CSV, FHIR): stored before it is acknowledged.

    Exit codes: 0 all accepted; 2 a setting, an option or an input is wrong; 3 --strict and one was bad; 4 the
    idempotency key was used for another body; 5 too few models are allowed; 6 some were set aside, the rest
    is accepted; 7 no database; 130 interrupted.
    """
    _one_of("--priority", priority, PRIORITIES)
    _one_of("--purpose", purpose, PURPOSES)
    _one_of("--strategy", strategy.upper(), tuple(Strategy))
    _one_of("--per", per, get_args(Per))
    _one_of("--families", families, get_args(Families))
    if bool(models) != (strategy.upper() == Strategy.FIXED):
        raise SettingsError("--models and --strategy FIXED belong together: give both or neither")
    if idempotency_key == "":
        raise SettingsError("--idempotency-key is empty: leave it out, or give each batch a key of its own")
    settings = get_settings()
    settings.require_broker()  # a setting that is missing is said before anything is stored
    key = idempotency_key or secrets.token_hex(8)
    # names of files and keys of one's own are clinical, and output may end in a log: they are not repeated
    again = "the same command with " + ("its key" if idempotency_key else f"--idempotency-key {key}")
    way = _Way(again, len(files) > 1)
    order = Order(
        source=source,
        strategy=strategy.upper(),
        n=n,
        models=tuple(m.strip() for m in models.split(",") if m.strip()),
        families=cast(Families, families),
        priority=priority,
        purpose=purpose,
        seed=secrets.randbits(62) if seed is None else seed,
        idempotency_key=key,
        strict=strict,
        budget_usd=None if budget is None else amount(budget, "--budget"),
        dials=dials(dial or []),
    )
    try:
        receipt, account = _send(files, order, way, input_format, mapping, per, quarantine_)
    except StrictBatch as refused:
        _print_errors(refused.set_aside, len(refused.set_aside), way)
        raise
    except IntegrityError:
        way.ended_early()
        raise Busy("the same ids are being submitted by another at this moment: submit again") from None
    except KeyboardInterrupt:
        way.ended_early()
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except IdempotencyConflict:
        raise
    except ConsiliumError:
        way.ended_early()
        raise
    nudged = nudge(settings)
    _report(receipt, way, nudged, format_, key)
    if account is not None and format_ is Format.table:
        _print_account(account)
    if receipt.errors and quarantine_ is None and format_ is Format.table:
        out.print(
            f"what was set aside, to be mended and sent again: {way.aside}",
            style="dim",
            markup=False,
            highlight=False,
        )
    if wait:
        try:
            follow(lambda: {receipt.submission_id}, console=err)
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


def _send(
    files: list[str],
    order: Order,
    way: _Way,
    format_: InputFormat,
    mapping: Path | None,
    per: str,
    aside: Path | None,
) -> tuple[Receipt, Account | None]:
    """Read and store all; of FHIR also what became of each resource."""
    named = None if mapping is None else load_mapping(mapping)
    with ExitStack() as stack:
        bar = stack.enter_context(Bar(sizes(files)))
        inputs = open_inputs(stack, files, format_, mapping=named, progress=bar.on)
        if named is not None and not any(each.csv for each in inputs):
            raise SettingsError(
                "--mapping is for CSV, and there is none: leave it out, or see --input-format"
            )
        written = stack.enter_context(quarantine(aside, inputs, named.encoding if named else "utf-8"))
        account = _account(inputs)
        receipt = receive(
            database,
            way.records(
                read_inputs(inputs, per="encounter" if per == "encounter" else "patient", account=account)
            ),
            order,
            settings=get_settings(),
            registry=registry(),
            vault=vault(),
            set_aside=lambda read, _error: None if written is None else written.add(read),
            stored=way.on,
        )
    return receipt, account


def _account(inputs: list[Input]) -> Account | None:
    if not any(each.format is InputFormat.fhir for each in inputs):
        return None
    from producers.readers.fhir import Account

    return Account()


def _print_account(account: Account) -> None:
    rows = [{"resource": kind, "fate": fate, "count": count} for kind, fate, count in account.rows()]
    emit(rows, Format.table)


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


def _print_errors(errors: list[RecordError], count: int, way: _Way) -> None:
    for error in errors[:SHOWN_ERRORS]:
        file = way.file(error)
        field_ = f", field {error.path}" if error.path else ""
        err.print(
            f"{file and f'{file}, '}line {error.line}{field_}: {error.reason}",
            style="yellow",
            markup=False,
            highlight=False,
        )
    if count > SHOWN_ERRORS:
        err.print(f"… and {count - SHOWN_ERRORS} more", style="yellow")


def _report(receipt: Receipt, way: _Way, nudged: bool, format_: Format, key: str) -> None:
    if format_ is not Format.table:
        row = {
            "submission": str(receipt.submission_id),
            "accepted": receipt.accepted,
            "set_aside": receipt.set_aside,
            "repeated": receipt.repeated,
            "idempotency_key": key,
            "errors": [
                {
                    "record": e.ordinal,
                    "file": way.file(e),
                    "line": e.line,
                    "code": e.code,
                    "path": e.path,
                    "reason": e.reason,
                }
                for e in receipt.errors
            ],
        }
        emit([row], format_)
        return
    _print_errors(receipt.errors, receipt.set_aside, way)
    again = ""
    if receipt.repeated:
        again = " (accepted before under this key; nothing was added)"
    elif receipt.known:
        again = f" (went on after {receipt.known} that were stored before)"
    out.print(
        f"submission {receipt.submission_id}: {receipt.records} records, "
        f"{receipt.accepted} accepted, {receipt.set_aside} set aside{again}",
        highlight=False,
    )
    if not nudged:
        err.print("the broker is away: all is stored, and work begins when it is back", style="yellow")
    out.print(
        f"next: consilium status {receipt.submission_id}\n      consilium results {receipt.submission_id}",
        style="dim",
        highlight=False,
    )
