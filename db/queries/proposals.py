"""What was concluded, with where its texts stand: what proposals in FHIR are made from."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

# By consultation; its answers, of who answered in the end, with the model version as it was returned.
PROPOSALS = text("""
    SELECT k.consultation_id AS id, k.form, k.concluded_at, c.document_id, a.answers
    FROM consensus k
    JOIN consultations c ON c.id = k.consultation_id AND c.source_id = k.source_id
    LEFT JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object(
                   'model', v.name, 'version', v.returned, 'document', g.document_id,
                   'grade', k.detail -> 'answers' -> CAST(g.seat AS text) -> 'grade'
               ) ORDER BY g.seat) AS answers
        FROM generations g
        JOIN interactions i ON i.consultation_id = g.consultation_id AND i.source_id = g.source_id
             AND i.seat = g.seat AND i.occupancy = g.occupancy
        JOIN model_versions v ON v.id = g.model_version_id
        WHERE g.consultation_id = k.consultation_id AND g.source_id = k.source_id
    ) a ON true
    WHERE k.consultation_id = ANY(:ids)
""")


def proposals(session: Session, consultations: Sequence[uuid.UUID]) -> dict[uuid.UUID, Any]:
    """By consultation, for those that came to a consensus: id, form, concluded_at, document_id, answers.

    Each of `answers` (None: there are none) has model, version, document and grade, in the order of seats.
    """
    return {row.id: row for row in session.execute(PROPOSALS, {"ids": list(consultations)})}
