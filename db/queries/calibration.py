"""What confidence is learned from: concluded consultations of which it is known whether they were right."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.calibration import Case, Features

# As they stood when they were concluded; the interactions are one for each seat that answered.
CASES = text("""
    SELECT encode(c.vignette_digest, 'hex') AS vignette, k.grade, k.variance, k.agreement, k.was_right,
           (SELECT avg(CAST(r.value ->> 'reliability' AS double precision))
            FROM jsonb_each(k.detail -> 'reviewers') r) AS reliability,
           (SELECT count(*) FROM interactions i
            WHERE i.consultation_id = k.consultation_id AND i.source_id = k.source_id) AS n
    FROM consensus k
    JOIN consultations c ON c.id = k.consultation_id AND c.source_id = k.source_id
    WHERE k.was_right IS NOT NULL AND c.purpose = ANY(:purposes)
      AND (CAST(:submissions AS uuid[]) IS NULL OR c.submission_id = ANY(:submissions))
    ORDER BY k.concluded_at, k.consultation_id
""")


def cases(
    session: Session, purposes: Sequence[str], submissions: Sequence[uuid.UUID] | None = None
) -> list[Case]:
    """All consultations of these purposes (and submissions) with a known outcome, oldest first."""
    values = {
        "purposes": list(purposes),
        "submissions": None if submissions is None else list(submissions),
    }
    return [
        Case(
            vignette=row.vignette,
            features=Features(row.grade, row.variance, row.agreement, row.reliability, row.n),
            right=row.was_right,
        )
        for row in session.execute(CASES, values)
    ]
