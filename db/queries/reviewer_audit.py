"""What the audit of the reviewers is made from: raw grades and what each reviewer was shown, no text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.reviewer_audit import AuditedReview

REVIEWS = text("""
    SELECT r.consultation_id, r.generation_id, r.model_version_id, m.family, a.family AS author_family,
           r.grade, r.position, r.shown_characters
    FROM reviews r
    JOIN consultations c ON c.id = r.consultation_id AND c.source_id = r.source_id
    JOIN generations g ON g.id = r.generation_id AND g.source_id = r.source_id
    JOIN model_versions m ON m.id = r.model_version_id
    JOIN model_versions a ON a.id = g.model_version_id
    WHERE c.purpose = ANY(:purposes)
    ORDER BY r.consultation_id, r.generation_id, r.model_version_id
""")

VERSIONS = text("SELECT id, name, returned, simulated FROM model_versions WHERE id = ANY(:ids)")


@dataclass(frozen=True)
class Version:
    """How a model version is shown."""

    name: str
    returned: str | None
    simulated: bool


def reviews(session: Session, purposes: Sequence[str]) -> list[AuditedReview]:
    """Every stored grade of consultations with one of these purposes; reviewers by model version's id."""
    return [
        AuditedReview(
            consultation=str(row.consultation_id),
            item=str(row.generation_id),
            reviewer=str(row.model_version_id),
            family=row.family,
            author_family=row.author_family,
            grade=row.grade,
            position=row.position,
            characters=row.shown_characters,
        )
        for row in session.execute(REVIEWS, {"purposes": list(purposes)})
    ]


def versions(session: Session, ids: Sequence[str]) -> Mapping[str, Version]:
    """Names of these model versions, by id."""
    return {
        str(row.id): Version(row.name, row.returned, row.simulated)
        for row in session.execute(VERSIONS, {"ids": list(ids)})
    }
