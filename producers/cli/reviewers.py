"""`consilium reviewers`: who grades harshly, noisily, or by place, length and kinship, with intervals."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from db.queries import reviewer_audit as queries
from producers.cli.common import Format, database, emit, err, out, table
from shared.errors import SettingsError
from shared.reviewer_audit import KINDS, LEAST_CONSULTATIONS, Audited, Effect, audit
from shared.schemas import PURPOSES
from shared.settings import get_settings

MEASURES = ("harshness", "noise", "agreement", "position", "length", "own_family")

LEGEND = """\
Effects on a grade in 0 to 1, each adjusted for the answer and for the other effects: harshness (below 0 is
harsh; the common offset is 0), position per place later, length per 100 characters against the median
reviewer, own family minus other families. noise: standard deviation; agreement: correlation with the others.
[95 % interval, clustered by consultation; none below {least} consultations]  · = cannot be told"""


def reviewers(
    purposes: Annotated[
        str | None,
        typer.Option(help="With commas: care, evaluation, training, demo. Default: the settings'."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Each reviewer against the others of the same answers: effects on the grade, with 95 % intervals."""
    asked = [p.strip() for p in (purposes or get_settings().history_purposes).split(",") if p.strip()]
    known = [p for p in asked if p in PURPOSES]
    if purposes is not None and len(known) < len(asked):
        raise SettingsError(f"--purposes takes {', '.join(PURPOSES)}, with commas")
    with database() as session:
        found = audit(queries.reviews(session, known))
        versions = queries.versions(session, [one.reviewer for one in found])
    rows = [_row(one, versions[one.reviewer]) for one in found]
    rows.sort(key=lambda row: (row["model"], row["version"] or ""))
    if format_ is not Format.table:
        emit(rows, format_)
        return
    if not rows:
        err.print(f"no reviews with the purpose {' or '.join(known)}: see --purposes", highlight=False)
        return
    out.print(table([_short(row) for row in rows]))
    tests = sum(row[kind] is not None and row[kind]["low"] is not None for row in rows for kind in KINDS)
    out.print(LEGEND.format(least=LEAST_CONSULTATIONS), highlight=False, markup=False, style="dim")
    out.print(
        f"{tests} effects were looked at together: about {tests * 0.05:.0f} of their 95 % intervals miss the "
        "truth by chance alone. * = 0 lies outside",
        highlight=False,
        style="dim",
    )
    if any(row["simulated"] for row in rows):
        out.print("(simulated) = answered by simulated models", style="dim", highlight=False)


def _row(one: Audited, version: queries.Version) -> dict[str, Any]:
    effects: dict[str, Effect | None] = {name: getattr(one, name) for name in MEASURES}
    return {
        "model": version.name,
        "version": version.returned,
        "family": one.family,
        "simulated": version.simulated,
        "reviews": one.reviews,
        "consultations": one.consultations,
        **{name: None if effect is None else vars(effect) for name, effect in effects.items()},
        "model_version": one.reviewer,
    }


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": (row["version"] or row["model"]) + (" (simulated)" if row["simulated"] else ""),
        "reviews": row["reviews"],
        **{name: _text(row[name], name in KINDS) for name in MEASURES},
    }


def _text(effect: dict[str, float | None] | None, tested: bool) -> str | None:
    """As a person reads it; effects get their sign, and a star where 0 lies outside."""
    if effect is None:
        return None
    sign = "+" if tested else ""
    low, high = effect["low"], effect["high"]
    if low is None or high is None:
        return f"{effect['value']:{sign}.3f}"
    star = "*" if tested and not low <= 0 <= high else " "
    return f"{effect['value']:{sign}.3f}{star}\\[{low:{sign}.3f}, {high:{sign}.3f}]"
