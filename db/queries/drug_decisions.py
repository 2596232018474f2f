"""What support is learned from: each drug that some seat named, and whether it turned out to belong."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.measures import DEFINITION
from shared.refinement.problem import Problem
from shared.schemas import Gold
from shared.support import evidence_of
from shared.support_fit import Decision, SeatVote

# One row a concluded consultation with an outcome, the newest of any kind; a seat is who answered in the end.
# Grades and problem as they stood when it was concluded.
LABELLED = text("""
    SELECT encode(c.vignette_digest, 'hex') AS vignette, c.kind, o.gold, s.seats,
           k.refinement -> 'problem' AS problem
    FROM consensus k
    JOIN consultations c ON c.id = k.consultation_id AND c.source_id = k.source_id
    JOIN LATERAL (
        SELECT gold FROM outcomes
        WHERE consultation_id = c.id AND source_id = c.source_id AND definition = :definition
        ORDER BY known_at DESC, id DESC LIMIT 1
    ) o ON true
    JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object(
                   'model', g.model_version_id, 'starts', g.starts,
                   'grade', k.detail -> 'answers' -> CAST(g.seat AS text) -> 'grade'
               ) ORDER BY g.seat) AS seats
        FROM generations g
        JOIN interactions i ON i.consultation_id = g.consultation_id AND i.source_id = g.source_id
             AND i.seat = g.seat AND i.occupancy = g.occupancy
        WHERE g.consultation_id = c.id AND g.source_id = c.source_id
    ) s ON s.seats IS NOT NULL
    WHERE c.purpose = ANY(:purposes)
      AND (CAST(:submissions AS uuid[]) IS NULL OR c.submission_id = ANY(:submissions))
    ORDER BY k.concluded_at, k.consultation_id
""")


def decisions(
    session: Session, purposes: Sequence[str], submissions: Sequence[uuid.UUID] | None = None
) -> list[Decision]:
    """All drug decisions of these purposes (and submissions) with a known outcome, oldest first.

    A drug belongs if the outcome requires or accepts it and does not say never.
    """
    values = {
        "purposes": list(purposes),
        "submissions": None if submissions is None else list(submissions),
        "definition": DEFINITION,
    }
    return [decision for row in session.execute(LABELLED, values) for decision in _of(row)]


def _of(row: Any) -> Iterator[Decision]:
    """The decisions of one consultation, drugs in the order of their names."""
    gold = Gold.model_validate(row.gold)
    wanted = {drug for item in gold.required for drug in item.any_of} | set(gold.acceptable)
    named = {k: frozenset(seat["starts"]) for k, seat in enumerate(row.seats)}
    told = evidence_of(Problem.from_json(row.problem), named) if row.problem else {}
    for drug in sorted({drug for drugs in named.values() for drug in drugs}):
        yield Decision(
            vignette=row.vignette,
            kind=row.kind,
            drug=drug,
            seats=tuple(
                SeatVote(seat["model"], drug in named[k], seat["grade"]) for k, seat in enumerate(row.seats)
            ),
            belongs=drug in wanted - set(gold.never),
            evidence=told.get(drug),
        )
