"""History in the public columns, read by a server-side cursor: memory stays flat whatever there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries.documents import Vault
from db.queries.history import chosen
from shared.history import mixture

ERASED = "(erased)"
BATCH = 500
STREAMED = {"yield_per": 2000}

# Variances are stored on the grades' scale, 0…1; the public columns have grades on 0…10.
OWN = text("""
    SELECT i.consultation_id::text AS trial, v.name AS model, i.kind AS task, i.latency_s AS latency,
           chr(65 + i.seat) AS id, g.document_id, i.quality, i.generation_accuracy,
           100 * i.variance AS variance, i.review_accuracy,
           extract(epoch FROM c.ended_at - c.accepted_at)::float8 AS took_s, c.strategy,
           i.created_at AS created
    FROM interactions i
    JOIN consultations c ON c.id = i.consultation_id AND c.source_id = i.source_id
    JOIN model_versions v ON v.id = i.model_version_id
    LEFT JOIN generations g ON g.consultation_id = i.consultation_id AND g.source_id = i.source_id
         AND g.seat = i.seat AND g.occupancy = i.occupancy
    WHERE i.purpose = ANY(:own)
    ORDER BY i.consultation_id, i.seat, i.occupancy
""")

# The trials of several origins are told apart by the origin's name in front.
IMPORTED = text("""
    SELECT CASE WHEN (SELECT count(DISTINCT origin) FROM imported_interactions
                      WHERE :every OR origin = ANY(:origins)) > 1
                THEN origin || '/' || trial ELSE trial END AS trial,
           model, task, latency_s AS latency, temperature, item AS id, quality, generation_accuracy, variance,
           review_accuracy, accuracy, elapsed, strategy, created
    FROM imported_interactions WHERE :every OR origin = ANY(:origins)
    ORDER BY origin, trial, place
""")


def rows(session: Session, purposes: Sequence[str], vault: Vault | None = None) -> Iterator[dict[str, str]]:
    """Rows in the public columns, as text: own consultations first, then what was imported.

    Numbers are written so that reading gives the same ones; empty is unknown. `result` is empty unless a
    vault opens the own consultations' sealed answers; of imported rows no text is kept. Raises
    `SettingsError` for a purpose that there is not.
    """
    own, origins, every = chosen(purposes)
    if own:
        found = session.execute(OWN, {"own": own}, execution_options=STREAMED).mappings()
        for batch in found.partitions(BATCH):
            ids = [row["document_id"] for row in batch if row["document_id"]]
            texts = vault.open_all(session, ids) if vault else {}
            for row in map(dict, batch):
                document = row.pop("document_id")
                took = row.pop("took_s")
                yield _written(
                    {
                        **row,
                        "result": texts.get(document, ERASED) if vault else None,
                        "accuracy": mixture(
                            row["generation_accuracy"], row["review_accuracy"], row["quality"]
                        ),
                        "elapsed": None if took is None else f"{took // 60:.0f}m {took % 60:.0f}s",
                    }
                )
    if every or origins:
        values = {"every": every, "origins": origins}
        for kept in session.execute(IMPORTED, values, execution_options=STREAMED).mappings():
            yield _written(kept)


def _written(row: Mapping[Any, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
    return repr(value) if isinstance(value, float) else str(value)
