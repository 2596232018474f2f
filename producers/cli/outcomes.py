"""`consilium outcomes`: what turned out to be right, for own consultations."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from db.queries import outcomes
from db.queries.documents import Vault
from producers.cli.acts import audit
from producers.cli.common import EXIT_SET_ASIDE, Format, database, emit, err, out, table, vault
from producers.readers.outcomes import FIELDS, OutcomeRow, read_outcomes
from shared.errors import RecordError
from shared.measures import in_codes
from shared.medications import is_unknown
from shared.schemas import Gold, GoldItem

app = typer.Typer(help="Outcomes: what turned out to be right.", no_args_is_help=True)

SHOWN = 20
"""Lines with names that the table does not know, and are listed."""

AsFormat = Annotated[Format, typer.Option("--format")]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help=f"NDJSON or CSV, of {', '.join(FIELDS)}.")],
    format_: AsFormat = Format.table,
) -> None:
    """Add outcomes of own consultations.

    Each line names a `consultation` (or a `submission` and the `line` of its input), and either `gold` in
    definition list-1, as JSON, or as `list` a clinician's accepted drugs (in CSV with semicolons): then each
    drug is required. An empty list: no drug was given. A combination asks for all of its ingredients. The
    newest outcome counts. A bad line is set aside and the rest goes on; names that the table of drugs does
    not know are told by their lines.
    """
    sealed = vault()
    added = known = 0
    unknown: dict[int, int] = {}
    bad: list[dict[str, object]] = []
    with database() as session:
        for row in read_outcomes(file):
            try:
                if isinstance(row, RecordError):
                    raise row
                consultation, gold = _of(session, sealed, row)
                if outcomes.add(session, *consultation, row.kind, gold):
                    added += 1
                else:
                    known += 1
                if names := sum(map(is_unknown, _codes(gold))):
                    unknown[row.line] = names
            except RecordError as error:
                error.line = error.line or row.line
                bad.append({"line": error.line, "field": error.path, "reason": error.reason})
        audit(session, "outcomes.import", f"{added} added, {known} known, {len(bad)} set aside")
    if format_ is Format.table:
        out.print(f"{added} outcomes added, {known} known before, {len(bad)} set aside", highlight=False)
        for line in bad:
            where = f"line {line['line']}" + (f", {line['field']}" if line["field"] else "")
            err.print(f"{where}: {line['reason']}", highlight=False, markup=False)
        if unknown:
            err.print(_unknown(unknown), highlight=False)
    else:
        told = [{"line": line, "names": names} for line, names in unknown.items()]
        emit([{"added": added, "known": known, "set_aside": bad, "not_in_table": told}], format_)
    if bad:
        raise typer.Exit(EXIT_SET_ASIDE)


def _unknown(names: Mapping[int, int]) -> str:
    """How many names of which lines the table does not know, and what that means."""
    lines = ", ".join(map(str, itertools.islice(names, SHOWN)))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"{sum(names.values())} names not in the table of drugs (lines {lines}{more}): each is met by the "
        "same spelling alone; see `consilium medications normalise`"
    )


def _codes(gold: Gold) -> set[str]:
    return {code for item in gold.required for code in item.any_of} | {*gold.acceptable, *gold.never}


def _of(session: Session, sealed: Vault, row: OutcomeRow) -> tuple[tuple[uuid.UUID, uuid.UUID], Gold]:
    """(consultation, source) and gold in codes. Raises `RecordError`."""
    if row.consultation is not None:
        found, path = outcomes.of_id(session, row.consultation), "consultation"
    else:
        assert row.submission is not None
        assert row.record_line is not None
        found, path = outcomes.of_record(session, row.submission, row.record_line), "line"
    if not found:
        raise RecordError("not_found", "there is no such consultation: see `consilium results`", path=path)
    if len(found) > 1:
        raise RecordError("several", "several files have such a line: name the consultation", path=path)
    key = sealed.site_key.digest("unknown drug")
    if row.gold is not None:
        return found[0], in_codes(row.gold, key)
    codes = in_codes(Gold(acceptable=row.accepted or []), key).acceptable
    return found[0], Gold(required=[GoldItem(any_of=[code]) for code in codes])


@app.command("show")
def show(format_: AsFormat = Format.table) -> None:
    """What share of the concluded consultations has an outcome, and how these differ from the rest.

    What is learned from outcomes holds for consultations like those that have one: means of the best grade,
    of the agreement and of the number of drugs proposed, with an outcome and without, by purpose.
    """
    with database() as session:
        found = outcomes.shares(session)
    if format_ is not Format.table:
        emit(found, format_)
    elif not found:
        out.print("no consultation is concluded yet")
    else:
        out.print(table([{k: v for k, v in row.items() if not _compares(k)} for row in found]))
        out.print("how those with an outcome differ from the rest (means):", highlight=False)
        out.print(table([_compared(row, which) for row in found for which in ("with", "without")]))


def _compares(name: str) -> bool:
    return name.endswith(("_with", "_without"))


def _compared(row: dict[str, Any], which: str) -> dict[str, Any]:
    n = row["with_outcome"] if which == "with" else row["concluded"] - row["with_outcome"]
    means = {name: row[f"{name}_{which}"] for name in ("grade", "agreement", "drugs")}
    return {"purpose": row["purpose"], "outcome": which, "consultations": n, **means}
