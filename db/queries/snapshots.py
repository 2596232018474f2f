"""Snapshots: what was learned from history, immutable and numbered, and the raw rows they are made from."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from db.ids import new_id
from db.tables import Snapshot

LATEST = text("""
    SELECT id, number, form, digest, body FROM snapshots WHERE kind = :kind ORDER BY number DESC LIMIT 1
""")
BY_ID = text("SELECT id, number, form, digest, body FROM snapshots WHERE id = :id")

# Raw grades only: never reliabilities or consensus values, or the memory would feed on itself.
RAW_GRADES = text("""
    SELECT r.consultation_id, r.generation_id AS item, r.model_version_id AS reviewer, m.family,
           r.grade, c.kind, r.created_at
    FROM reviews r
    JOIN consultations c ON c.id = r.consultation_id AND c.source_id = r.source_id
    JOIN model_versions m ON m.id = r.model_version_id
    WHERE c.purpose = ANY(:purposes)
    ORDER BY r.created_at, r.id
""")


@dataclass(frozen=True)
class Stored:
    """A snapshot as it lies in the database."""

    id: uuid.UUID
    number: int
    form: str
    digest: str
    body: dict[str, Any]


@dataclass(frozen=True)
class RawGrade:
    """One stored grade with its reviewer."""

    consultation_id: uuid.UUID
    item: uuid.UUID
    reviewer: uuid.UUID
    family: str
    grade: float
    kind: str
    created_at: datetime


def latest(session: Session, kind: str) -> Stored:
    """The snapshot in force; number 0 exists from the first migration for `reviewers`."""
    return Stored(**session.execute(LATEST, {"kind": kind}).one()._mapping)


def by_id(session: Session, snapshot_id: uuid.UUID) -> Stored:
    """One snapshot."""
    return Stored(**session.execute(BY_ID, {"id": snapshot_id}).one()._mapping)


def raw_grades(session: Session, purposes: Sequence[str]) -> list[RawGrade]:
    """All stored grades of consultations with one of these purposes, oldest first."""
    return [RawGrade(**r._mapping) for r in session.execute(RAW_GRADES, {"purposes": list(purposes)})]


def add(session: Session, *, kind: str, number: int, **columns: Any) -> uuid.UUID:
    """Store the next snapshot; a number taken already is an IntegrityError, so two runs cannot both store."""
    snapshot_id = new_id()
    session.execute(insert(Snapshot).values(id=snapshot_id, kind=kind, number=number, **columns))
    return snapshot_id
