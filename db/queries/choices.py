"""Choices as they were made, and what consultations so chosen really achieved."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.tables import Choice as Row
from shared.choosing import Choice

WEIGHT_CAP = 20.0
"""Largest weight 1 / probability of a draw (algorithms, section 4)."""

# Explored draws were not chosen. Each consultation is judged on the basis on which its choice was promised.
REALISED = text("""
    WITH drawn AS (
        SELECT h.basis, h.promised,
               CASE h.basis WHEN 'outcomes' THEN CAST(CAST(k.was_right AS int) AS float8) ELSE k.grade END
                   AS realised,
               least(1 / c.draw_probability, :cap) AS weight
        FROM consultations c
        JOIN choices h ON h.submission_id = c.submission_id AND h.source_id = c.source_id AND h.kind = c.kind
        LEFT JOIN consensus k ON k.consultation_id = c.id AND k.source_id = c.source_id
        WHERE c.purpose = 'care' AND NOT c.explored AND c.strategy = :strategy AND h.strategy = :strategy
          AND h.basis IS NOT NULL AND c.draw_probability > 0
          AND (CAST(:kind AS text) IS NULL OR c.kind = :kind)
    ), means AS (
        SELECT basis, sum(weight * realised) / sum(weight) AS weighted
        FROM drawn WHERE realised IS NOT NULL GROUP BY basis
    )
    SELECT d.basis, count(*) AS drawn, count(d.realised) AS known,
           avg(d.promised) FILTER (WHERE d.realised IS NOT NULL) AS promised,
           avg(d.realised) AS realised,
           stddev_samp(d.realised) / sqrt(count(d.realised)) AS realised_se,
           m.weighted,
           CASE WHEN count(d.realised) > 1 THEN
               sqrt(sum((d.weight * (d.realised - m.weighted)) ^ 2)) / sum(d.weight)
                   FILTER (WHERE d.realised IS NOT NULL)
           END AS weighted_se
    FROM drawn d LEFT JOIN means m USING (basis)
    GROUP BY d.basis, m.weighted ORDER BY d.basis
""")


@dataclass(frozen=True)
class Realised:
    """Promised against realised, over consultations of one basis; means in [0, 1], None where none is known.

    `known`: those whose outcome (basis outcomes) or grade (basis quality) exists; the means are over these.
    `weighted`: by the inverse probability of the draw, weights at most 20. Standard errors None below two.
    """

    basis: str
    drawn: int
    known: int
    promised: float | None
    realised: float | None
    realised_se: float | None
    weighted: float | None
    weighted_se: float | None


def store(
    session: Session,
    submission_id: uuid.UUID,
    source_id: uuid.UUID,
    kind: str,
    choice: Choice | None,
    snapshot_id: uuid.UUID | None,
    *,
    strategy: str = "RANDOM",
    dials: Mapping[str, float] | None = None,
) -> None:
    """Store whom one kind of task of a submission is drawn from; `strategy` is said where nobody was chosen.

    A submission that goes on where it was interrupted chooses the same again, and nothing is added.
    """
    values: dict[str, Any] = {
        "submission_id": submission_id,
        "source_id": source_id,
        "kind": kind,
        "strategy": strategy,
        "snapshot_id": snapshot_id,
        "models": [],
        "detail": {"dials": dict(dials or {})},
    }
    if choice is not None:
        values |= {
            "strategy": str(choice.strategy),
            "models": list(choice.models),
            "basis": choice.basis,
            "promised": choice.value,
            "promised_se": choice.value_se,
            "detail": {
                "dials": dict(dials or {}),
                "parts": dict(choice.parts),
                "near_equal": choice.near_equal,
                "exact": choice.exact,
                "weakest": choice.weakest,
                "without_history": list(choice.without_history),
                "alternatives": [brief(other) for other in choice.alternatives],
            },
        }
    session.execute(insert(Row).values(**values).on_conflict_do_nothing())


def brief(choice: Choice) -> dict[str, Any]:
    """An alternative as it is stored and shown: who, what it is worth, and its parts."""
    whole = asdict(choice)
    return {key: whole[key] for key in ("models", "value", "value_se", "parts")}


def realised(session: Session, kind: str | None, strategy: str) -> list[Realised]:
    """What consultations for care achieved that were drawn so and did not explore; a row a basis.

    `kind` None: over all kinds. Those that failed, or whose outcome is not known, are counted in `drawn`.
    """
    values = {"kind": kind, "strategy": strategy, "cap": WEIGHT_CAP}
    return [Realised(**row._mapping) for row in session.execute(REALISED, values)]
