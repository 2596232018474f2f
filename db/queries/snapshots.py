"""Snapshots: what was learned from history, immutable and numbered, and the raw rows they are made from."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from db.ids import new_id
from db.queries.history import BOUNDS
from db.tables import Snapshot
from shared.frozen import Frozen

SITE = "site"
"""The scope of what is in force for whatever is accepted; any other belongs to one evaluation."""

_COLUMNS = """
    SELECT id, kind, number, scope, form, parameters, purposes, span_from, span_to, rows_read, digest, body,
           created_at
    FROM snapshots
"""
LATEST = text(f"{_COLUMNS} WHERE kind = :kind AND scope = :scope ORDER BY number DESC LIMIT 1")
BY_ID = text(f"{_COLUMNS} WHERE id = :id")
BY_NUMBER = text(f"{_COLUMNS} WHERE kind = :kind AND number = :number")
# Without their bodies, which may be large; those older than `after`.
LISTED = text("""
    SELECT id, number, form, purposes, span_from, span_to, rows_read, digest, created_at
    FROM snapshots
    WHERE kind = :kind AND scope = :scope
      AND (CAST(:after AS uuid) IS NULL OR number < (SELECT number FROM snapshots WHERE id = :after))
    ORDER BY number DESC LIMIT :most
""")
OF_SCOPE = text(f"{_COLUMNS} WHERE id = :id AND kind = :kind AND scope = :scope")
IN_FORCE = text("""
    SELECT DISTINCT ON (kind) kind, id FROM snapshots WHERE scope = :scope ORDER BY kind, number DESC
""")
NEXT_NUMBER = text("SELECT coalesce(max(number), 0) + 1 FROM snapshots WHERE kind = :kind")

# Raw grades only: never reliabilities or consensus values, or the memory would feed on itself.
RAW_GRADES = text("""
    SELECT r.generation_id AS item, r.model_version_id AS reviewer, m.family, r.grade, c.kind, r.created_at,
           count(*) OVER (PARTITION BY r.generation_id) AS of_item
    FROM reviews r
    JOIN consultations c ON c.id = r.consultation_id AND c.source_id = r.source_id
    JOIN model_versions m ON m.id = r.model_version_id
    WHERE c.purpose = ANY(:purposes)
      AND (CAST(:submissions AS uuid[]) IS NULL OR c.submission_id = ANY(:submissions))
    ORDER BY r.created_at, r.id
""")


@dataclass(frozen=True)
class Stored:
    """A snapshot as it lies in the database."""

    id: uuid.UUID
    kind: str
    number: int
    scope: str
    form: str
    parameters: dict[str, Any]
    purposes: list[str]
    span_from: datetime | None
    span_to: datetime | None
    rows_read: int
    digest: str
    body: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class RawGrade:
    """One stored grade with its reviewer; `of_item`: so many grades are read of the same item."""

    item: uuid.UUID
    reviewer: uuid.UUID
    family: str
    grade: float
    kind: str
    created_at: datetime
    of_item: int


def latest(session: Session, kind: str, scope: str = SITE) -> Stored | None:
    """The newest of a scope; None where nothing has been learned. `reviewers` of the site is never None."""
    return _one(session, LATEST, {"kind": kind, "scope": scope})


def by_id(session: Session, snapshot_id: uuid.UUID) -> Stored:
    """One snapshot that is there."""
    return Stored(**session.execute(BY_ID, {"id": snapshot_id}).one()._mapping)


def by_number(session: Session, kind: str, number: int) -> Stored | None:
    """One snapshot by its number; None if there is none."""
    return _one(session, BY_NUMBER, {"kind": kind, "number": number})


def listed(
    session: Session, kind: str, *, after: uuid.UUID | None = None, most: int = 20
) -> Sequence[dict[str, Any]]:
    """The site's of a kind, newest first, without parameters and body: those older than `after`."""
    values = {"kind": kind, "scope": SITE, "after": after, "most": most}
    return [dict(row._mapping) for row in session.execute(LISTED, values)]


def of_site(session: Session, kind: str, snapshot_id: uuid.UUID) -> Stored | None:
    """One of the site's by its id; None if there is none of this kind."""
    return _one(session, OF_SCOPE, {"id": snapshot_id, "kind": kind, "scope": SITE})


def in_force(session: Session, scope: str = SITE) -> Frozen:
    """The newest of each kind; an evaluation that has no memory of its own has the site's."""
    found = {row.kind: row.id for row in session.execute(IN_FORCE, {"scope": scope})}
    return Frozen(
        reviewers_snapshot_id=found.get("reviewers") or in_force(session).reviewers_snapshot_id,
        chemistry_snapshot_id=found.get("chemistry"),
        calibration_snapshot_id=found.get("calibration"),
        support_snapshot_id=found.get("support"),
    )


def raw_grades(
    session: Session, purposes: Sequence[str], submissions: Sequence[uuid.UUID] | None = None
) -> Iterator[RawGrade]:
    """All stored grades of consultations with one of these purposes (of these submissions), oldest first.

    They come by a cursor, a few thousand at a time.
    """
    values = {
        "purposes": list(purposes),
        "submissions": None if submissions is None else list(submissions),
    }
    session.execute(BOUNDS)
    rows = session.execute(RAW_GRADES, values, execution_options={"yield_per": 2000})
    return (RawGrade(*row) for row in rows)


def add(session: Session, *, kind: str, **columns: Any) -> uuid.UUID:
    """Store the next snapshot under the next number of its kind; two at once: one is an IntegrityError."""
    snapshot_id = new_id()
    number = session.execute(NEXT_NUMBER, {"kind": kind}).scalar_one()
    session.execute(insert(Snapshot).values(id=snapshot_id, kind=kind, number=number, **columns))
    return snapshot_id


def _one(session: Session, statement: Any, values: dict[str, Any]) -> Stored | None:
    row = session.execute(statement, values).one_or_none()
    return None if row is None else Stored(**row._mapping)
