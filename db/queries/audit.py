"""Who did what to which thing, when. Append-only by trigger; names, our own ids and counts, never content."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

RECORD = text("""
    INSERT INTO audit (source_id, who, what, which) VALUES (:source_id, :who, :what, :which)
""")

# The newest first. Each choice has an index that ends with the time.
LISTED = text("""
    SELECT a.at, s.name AS source, a.who, a.what, a.which
    FROM audit a LEFT JOIN sources s ON s.id = a.source_id
    WHERE (CAST(:source_id AS uuid) IS NULL OR a.source_id = :source_id)
      AND (CAST(:what AS text) IS NULL OR a.what = :what)
      AND (CAST(:since AS timestamptz) IS NULL OR a.at >= :since)
    ORDER BY a.at DESC, a.id DESC LIMIT :most
""")


def record(session: Session, who: str, what: str, which: str, source_id: uuid.UUID | None = None) -> None:
    """Add a line, in the transaction that does it; without a source it is about the site."""
    values = {"who": who[:100], "what": what, "which": which[:100], "source_id": source_id}
    session.execute(RECORD, values)


def listed(
    session: Session,
    *,
    source_id: uuid.UUID | None = None,
    what: str | None = None,
    since: datetime | None = None,
    most: int | None = None,
) -> Sequence[dict[str, Any]]:
    """The newest lines (None: all), as dicts of `at`, `source`, `who`, `what`, `which`."""
    asked = {"source_id": source_id, "what": what, "since": since, "most": most}
    return [dict(row._mapping) for row in session.execute(LISTED, asked)]
