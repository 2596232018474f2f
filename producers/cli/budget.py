"""`consilium budget`: what a submission, or a source in a day, may cost."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from db.queries import budgets
from db.tables import Source
from producers.cli.acts import amount, audit, go_on, source_named, usd
from producers.cli.common import Format, NotFound, database, emit, out, registry
from shared.errors import SettingsError
from shared.expected_cost import require_prices
from shared.policy import Policy
from shared.selection import candidate

SAY = "say `consilium budget SUBMISSION AMOUNT` or `consilium budget --source NAME AMOUNT`: USD, or none"


def budget(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUBMISSION AMOUNT",
            help="USD; without it tells its cap; with nothing at all, all caps.",
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(help="A source's cap, a day in UTC.")] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Cap what a submission, or a source in a day, may cost. Over it the work waits; raising it resumes.

    Checked before dispatch with the expected cost, so what is in flight still ends.
    """
    match words or [], source:
        case [], None:
            emit(_caps(), format_)
            return
        case [], str(name):
            with database() as session:
                row = _source(session, source_named(session, name))
        case [submission], None:
            with database() as session:
                row = _row(_submission(session, _id(submission)))
        case [given], str(name):
            row = _cap_source(name, amount(given, "AMOUNT"))
            go_on()
        case [submission, given], None:
            row = _cap_submission(_id(submission), amount(given, "AMOUNT"))
            go_on()
        case _:
            raise SettingsError(SAY)
    if format_ is Format.table:
        out.print(_said(row), highlight=False, markup=False)
    else:
        emit([row], format_)


def _caps() -> list[dict[str, Any]]:
    with database() as session:
        submissions, sources = budgets.of_submissions(session), budgets.of_sources(session)
    return [
        {
            "scope": "source",
            "name": s["source"],
            "budget_usd": s["daily_budget_usd"],
            "spent_usd": s["today_usd"],
            "expected_usd": None,
            "held": None,
        }
        for s in sources
    ] + [
        {
            "scope": "submission",
            "name": s["submission"],
            **{name: s[name] for name in ("budget_usd", "spent_usd", "expected_usd", "held")},
        }
        for s in submissions
    ]


def _id(given: str) -> uuid.UUID:
    try:
        return uuid.UUID(given)
    except ValueError:
        raise SettingsError(f"SUBMISSION is an id: see `consilium status`; {SAY}") from None


def _submission(session: Session, submission_id: uuid.UUID) -> dict[str, Any]:
    found = budgets.of_submissions(session, submission_id)
    if not found:
        raise NotFound(f"no submission {submission_id}: see `consilium status`")
    return found[0]


def _row(now: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: now[name] for name in ("budget_usd", "spent_usd", "held")}
    return {"scope": "submission", "name": now["submission"], **kept}


def _cap_submission(submission_id: uuid.UUID, cap: Decimal | None) -> dict[str, Any]:
    models = registry()
    with database() as session:
        asked = budgets.models_of(session, submission_id)
        if asked is None:
            raise NotFound(f"no submission {submission_id}: see `consilium status`")
        if cap is not None:
            require_prices(asked, models)
            _all_priced(budgets.unpriced(session, submission_id=submission_id))
        released = budgets.set_submission(session, submission_id, cap)
        now = _submission(session, submission_id)
        source_id = source_named(session, now["source"]).id
        audit(session, "budget.submission", f"{submission_id} {usd(cap)}", source_id)
        return {**_row(now), "released": released}


def _source(session: Session, source: Source) -> dict[str, Any]:
    return {
        "scope": "source",
        "name": source.name,
        "budget_usd": source.daily_budget_usd,
        "spent_usd": budgets.source_spent_today(session, source.id),
        "held": budgets.held_of_source(session, source.id),
    }


def _cap_source(name: str, cap: Decimal | None) -> dict[str, Any]:
    models = registry()
    with database() as session:
        source = source_named(session, name)
        if cap is not None:
            policy = Policy.model_validate(source.policy)
            require_prices([m.name for m in models.values() if policy.allows(candidate(m))], models)
            _all_priced(budgets.unpriced(session, source_id=source.id))
        released = budgets.set_source(session, source.id, cap)
        audit(session, "budget.source", f"{source.id} {usd(cap)} a day", source.id)
        session.refresh(source)
        return {**_source(session, source), "released": released}


def _all_priced(without: int) -> None:
    if without:
        raise SettingsError(
            f"{without} open consultations were accepted while a price of their models was not known: no cap "
            "can be kept for them; set it when they have ended"
        )


def _said(row: Mapping[str, Any]) -> str:
    cap, spent = usd(row["budget_usd"]), usd(row["spent_usd"])
    if row["scope"] == "source":
        cap, spent = f"{cap} a day", f"{spent} today"
    said = f"{row['scope']} {row['name']}: {cap}, spent {spent}"
    if row.get("released"):
        said += f"; {row['released']} consultations that were held for it go on"
    if row["held"]:
        said += f"; {row['held']} wait as `held: budget`"
    return f"{said}\nnext: consilium budget"
