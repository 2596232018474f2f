"""`consilium replay`: consensus, reliabilities and lists once more from what is stored; no model is asked."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from db.queries import conclusions, reports
from db.queries.conclusions import StoredConclusion
from producers.again import Again, Changed
from producers.cli.common import Format, NotFound, database, out, table
from shared.consensus import as_columns
from shared.errors import SettingsError
from shared.replay import Changes, Compared, Moved, changes

SHOWN = 20
"""Changed consultations that a person is shown; JSON holds all."""
PURGED = "text purged"
LISTS = ("highest_graded", "majority", "refined", "stops", "minority")


class Form(StrEnum):
    """How grades become consensus grades."""

    default = "default"
    mean = "mean"
    reference = "reference"


@dataclass(frozen=True)
class Asked:
    """With what is replayed; None: as it was stored."""

    form: Form
    gamma: float | None
    memory: int | None  # number of a snapshot of the reviewers' memory
    severity: float | None  # λ
    same_class: float | None  # ν
    treats: float | None  # κ

    @property
    def as_stored(self) -> bool:
        """Whether nothing is changed."""
        return self.form is Form.default and not any(self.numbers.values())

    @property
    def numbers(self) -> dict[str, str | None]:
        """What is asked for beside the form, in words."""
        named = {"γ": self.gamma, "λ": self.severity, "ν": self.same_class, "κ": self.treats}
        dials = {name: None if value is None else f"{name} = {value:g}" for name, value in named.items()}
        return {**dials, "memory": None if self.memory is None else f"memory {self.memory}"}

    def changed(self, memory: uuid.UUID | None) -> Changed:
        """The same as it is concluded with."""
        return Changed(
            form="reference" if self.form is Form.reference else "memory",
            plain=self.form is Form.mean,
            reviewers_snapshot_id=memory,
            gamma=self.gamma,
            severity=self.severity,
            same_class=self.same_class,
            treats=self.treats,
        )


def replay(
    submissions: Annotated[list[uuid.UUID], typer.Argument(help="See `consilium status`.")],
    form: Annotated[
        Form,
        typer.Option(help="default: with the memory; mean: plain means; reference: the published Vancouver."),
    ] = Form.default,
    gamma: Annotated[
        float | None, typer.Option(min=0, help="Weight of an answer's grade in the support of its drugs.")
    ] = None,
    severity: Annotated[
        float | None, typer.Option("--lambda", min=0, help="λ: weight of the severity of what interacts.")
    ] = None,
    same_class: Annotated[float | None, typer.Option(min=0, help="ν: weight of two of one class.")] = None,
    treats: Annotated[float | None, typer.Option(min=0, help="κ: weight of a condition treated.")] = None,
    memory: Annotated[
        int | None, typer.Option(min=0, help="Number of the reviewers' snapshot; default: the stored one.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Say what would have changed, on how many consultations, by how much; with nothing asked for, nothing.

    Lists are refined again from the findings as they were stored: no text is opened and no rule is applied
    anew. What was concluded before lists were refined stays the majority's list, whatever the dials.
    """
    if memory is not None and form is not Form.default:
        raise SettingsError("--memory belongs to the default form: leave --form out")
    for option, number in {
        "gamma": gamma,
        "lambda": severity,
        "same-class": same_class,
        "treats": treats,
    }.items():
        if number is not None and not math.isfinite(number):
            raise SettingsError(f"--{option} must be finite")
    asked = Asked(form, gamma, memory, severity, same_class, treats)
    rows: list[tuple[StoredConclusion, Compared]] = []
    with database() as session:
        for submission in dict.fromkeys(submissions):
            if not reports.submissions(session, submission):
                raise NotFound(f"no submission {submission}: see `consilium status`")
            rows += _replayed(session, submission, asked)
    found = changes([compared for _, compared in rows])
    purged = sum(stored.purged for stored, _ in rows)
    if format_ is Format.table:
        _print(asked, found, rows, purged)
        return
    made = {
        "settings": {**asdict(asked), "as_stored": asked.as_stored},
        **asdict(found),
        "text_purged": purged,
        "rows": [_row(stored, compared) for stored, compared in rows],
    }
    print(json.dumps(made, default=str, indent=None if format_ is Format.ndjson else 2))


def _replayed(
    session: Session, submission: uuid.UUID, asked: Asked
) -> Iterator[tuple[StoredConclusion, Compared]]:
    """Each stored conclusion beside the one made anew, as JSON would store it."""
    again = Again(session)
    changed = asked.changed(None if asked.memory is None else _numbered(session, asked.memory))
    for one, said in again.evidence(conclusions.stored(session, submission)):
        made = as_columns(again.conclude(one, said, changed))
        yield one, Compared(one.columns, json.loads(json.dumps(made)))


def _numbered(session: Session, number: int) -> uuid.UUID:
    found = conclusions.memory_numbered(session, number)
    if found is None:
        raise NotFound(f"no snapshot {number} of the reviewers' memory: number 0 is the plain mean")
    return found


def _row(stored: StoredConclusion, compared: Compared) -> dict[str, Any]:
    """One consultation for programs: what is stored, and what it would be."""
    columns = ("form", "grade", "variance", "agreement", "confidence", "rule", "method")
    return {
        "consultation": stored.consultation_id,
        "line": stored.line,
        "identical": compared.identical,
        "before": _shown(compared.before, stored.purged, columns),
        "after": _shown(compared.after, stored.purged, columns),
    }


def _shown(made: Any, purged: bool, columns: tuple[str, ...]) -> dict[str, Any]:
    lists = {name: PURGED if purged else made[name] for name in LISTS}
    numbers = {
        "grades": {seat: item["grade"] for seat, item in made["detail"]["answers"].items()},
        "reliabilities": {seat: r["reliability"] for seat, r in made["detail"]["reviewers"].items()},
    }
    refined = {name: PURGED if purged else made[name] for name in ("findings", "trace")}
    return {**{name: made[name] for name in columns}, **numbers, **lists, **refined}


def _print(asked: Asked, found: Changes, rows: list[tuple[StoredConclusion, Compared]], purged: int) -> None:
    numbers = [words for words in asked.numbers.values() if words]
    how = "as stored" if asked.as_stored else ", ".join([f"form {asked.form}", *numbers])
    lines = [f"{how}: identical: {found.identical} of {found.consultations}"]
    if purged:
        lines.append(f"{PURGED} of {purged}: their numbers are compared, their lists are not shown")
    if found.identical < found.consultations:
        lines += [
            _moved("grades of answers", found.grades),
            _moved("reliabilities of reviewers", found.reliabilities),
            _moved("confidences", found.confidences),
            f"another highest-graded list: {found.highest_graded}, majority: {found.majority}, "
            f"refined list: {found.refined}, findings: {found.findings}, support: {found.support}, "
            f"rule: {found.rule}, "
            f"confidence: {found.confidence} of {found.consultations} consultations",
        ]
        if asked.as_stored:
            lines.append("with the stored settings nothing may change: please report this")
    out.print("\n".join(lines), highlight=False)
    changed = [(stored, compared) for stored, compared in rows if not compared.identical]
    if changed:
        out.print(table([_line(stored, compared) for stored, compared in changed[:SHOWN]]))
    if len(changed) > SHOWN:
        out.print(f"and {len(changed) - SHOWN} more: --format json shows all", highlight=False)


def _moved(what: str, moved: Moved) -> str:
    if moved.mean is None or moved.largest is None:
        return f"{what}: none to compare"
    return (
        f"{what}: {moved.changed} of {moved.of} changed, by {moved.mean:.4f} on average over all, "
        f"at most {moved.largest:.4f}"
    )


def _line(stored: StoredConclusion, compared: Compared) -> dict[str, Any]:
    """One changed consultation for a person."""
    before, after = compared.before, compared.after
    row: dict[str, Any] = {"line": stored.line}
    for name in ("grade", "confidence"):
        row[name] = _arrow(*(None if one[name] is None else f"{one[name]:.3f}" for one in (before, after)))
    for name in ("highest_graded", "majority", "refined"):
        lists = (", ".join(one[name]) or "no medication" for one in (before, after))
        row[name] = PURGED if stored.purged else _arrow(*lists)
    row["rule"] = _arrow(before["rule"], after["rule"])
    row["consultation"] = str(stored.consultation_id)
    return row


def _arrow(before: str | None, after: str | None) -> str:
    return (before or "·") if before == after else f"{before or '·'} → {after or '·'}"
