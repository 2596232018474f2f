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

from db.queries import conclusions, reports, snapshots
from db.queries.conclusions import Evidence, StoredConclusion
from producers.cli.common import Format, NotFound, database, out, table
from shared.calibration import Calibrator
from shared.consensus import GAMMA, as_columns, conclude_from
from shared.errors import SettingsError
from shared.memory import Memory
from shared.replay import Changes, Compared, Moved, changes

CHUNK = 500
"""Consultations whose answers and grades are held at once."""
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
    gamma: float
    memory: int | None  # number of a snapshot of the reviewers' memory

    @property
    def as_stored(self) -> bool:
        """Whether nothing is changed."""
        return self.form is Form.default and self.gamma == GAMMA and self.memory is None


def replay(
    submissions: Annotated[list[uuid.UUID], typer.Argument(help="See `consilium status`.")],
    form: Annotated[
        Form,
        typer.Option(help="default: with the memory; mean: plain means; reference: the published Vancouver."),
    ] = Form.default,
    gamma: Annotated[
        float, typer.Option(min=0, help="Weight of an answer's grade in the support of its drugs.")
    ] = GAMMA,
    memory: Annotated[
        int | None, typer.Option(min=0, help="Number of the reviewers' snapshot; default: the stored one.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Say what would have changed, on how many consultations, by how much; with nothing asked for, nothing.

    The list-wise refinement and its dial λ come with the medications issue: there is no --lambda yet.
    """
    if memory is not None and form is not Form.default:
        raise SettingsError("--memory belongs to the default form: leave --form out")
    if not math.isfinite(gamma):
        raise SettingsError("--gamma must be finite")
    asked = Asked(form, gamma, memory)
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
    """Each stored conclusion beside the one made anew."""
    bodies = _Bodies(session)
    other = None if asked.memory is None else _numbered(session, asked.memory)
    stored = conclusions.stored(session, submission)
    for at in range(0, len(stored), CHUNK):
        some = stored[at : at + CHUNK]
        said = conclusions.evidence(session, [one.consultation_id for one in some])
        for one, evidence in zip(some, said, strict=True):
            yield one, Compared(one.columns, _again(one, evidence, asked, bodies, other))


def _again(
    one: StoredConclusion, said: Evidence, asked: Asked, bodies: _Bodies, other: uuid.UUID | None
) -> dict[str, Any]:
    """The columns made anew, as JSON would store them."""
    known = asked.form is Form.default
    conclusion = conclude_from(
        said.answers,
        said.grades,
        bodies.memory(other or one.reviewers_snapshot_id) if known else Memory(),
        kind=one.kind,
        calibrator=bodies.calibrator(one.calibration_snapshot_id),
        form="reference" if asked.form is Form.reference else "memory",
        gamma=asked.gamma,
    )
    made: dict[str, Any] = json.loads(json.dumps(as_columns(conclusion)))
    return made


class _Bodies:
    """Snapshots' contents, each read once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._memories: dict[uuid.UUID, Memory] = {}
        self._calibrators: dict[uuid.UUID, Calibrator | None] = {}

    def memory(self, id_: uuid.UUID) -> Memory:
        """The reviewers' memory of a snapshot."""
        if id_ not in self._memories:
            self._memories[id_] = Memory.from_json(snapshots.by_id(self._session, id_).body)
        return self._memories[id_]

    def calibrator(self, id_: uuid.UUID | None) -> Calibrator | None:
        """The calibrator of a snapshot, if there was one."""
        if id_ is None:
            return None
        if id_ not in self._calibrators:
            self._calibrators[id_] = Calibrator.from_json(snapshots.by_id(self._session, id_).body)
        return self._calibrators[id_]


def _numbered(session: Session, number: int) -> uuid.UUID:
    found = conclusions.memory_numbered(session, number)
    if found is None:
        raise NotFound(f"no snapshot {number} of the reviewers' memory: number 0 is the plain mean")
    return found


def _row(stored: StoredConclusion, compared: Compared) -> dict[str, Any]:
    """One consultation for programs: what is stored, and what it would be."""
    columns = ("form", "grade", "variance", "agreement", "confidence", "rule")
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
    return {**{name: made[name] for name in columns}, **numbers, **lists}


def _print(asked: Asked, found: Changes, rows: list[tuple[StoredConclusion, Compared]], purged: int) -> None:
    how = "as stored" if asked.as_stored else f"form {asked.form}, γ = {asked.gamma:g}"
    if asked.memory is not None:
        how += f", memory {asked.memory}"
    lines = [f"{how}: identical: {found.identical} of {found.consultations}"]
    if purged:
        lines.append(f"{PURGED} of {purged}: their numbers are compared, their lists are not shown")
    if found.identical < found.consultations:
        lines += [
            _moved("grades of answers", found.grades),
            _moved("reliabilities of reviewers", found.reliabilities),
            _moved("confidences", found.confidences),
            f"another highest-graded list: {found.highest_graded}, majority: {found.majority}, "
            f"refined list: {found.refined}, support: {found.support}, rule: {found.rule}, "
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
    for name in ("highest_graded", "majority"):
        lists = (", ".join(one[name]) or "no medication" for one in (before, after))
        row[name] = PURGED if stored.purged else _arrow(*lists)
    row["rule"] = _arrow(before["rule"], after["rule"])
    row["consultation"] = str(stored.consultation_id)
    return row


def _arrow(before: str | None, after: str | None) -> str:
    return (before or "·") if before == after else f"{before or '·'} → {after or '·'}"
