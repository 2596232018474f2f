"""History from elsewhere: rows go by COPY through a temporary table, so memory stays flat whatever comes.

A row's key is its origin, trial and place within the trial in the file's order: a file that has grown adds
only what is new, and the same file nothing at all.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.ids import new_id
from shared.errors import ConsiliumError
from shared.history import HistoryRow, question_of

# One import at a time: two at once would wait for each other's rows.
ALONE = text("SELECT pg_try_advisory_xact_lock(hashtext('consilium history import'))")

# A large file takes longer than the bound that other statements have.
NO_LIMIT = text("SET LOCAL statement_timeout = 0")

KNOWN = text("SELECT id, origin, imported_at FROM history_imports WHERE digest = :digest")

STAGING = text("""
    CREATE TEMP TABLE staged_history (
        seq bigint, line int, reason text, kind text, task text, trial text, model text, item text,
        question text, latency_s float8, temperature float8, quality float8, generation_accuracy float8,
        variance float8, review_accuracy float8, accuracy float8, elapsed text, strategy text,
        created timestamptz
    ) ON COMMIT DROP
""")

COPY = "COPY staged_history FROM STDIN"

IMPORT = text("""
    INSERT INTO history_imports (id, origin, digest, rows, set_aside)
    SELECT :id, :origin, :digest, 0, count(*) FROM staged_history WHERE reason IS NOT NULL
""")

SET_ASIDE = text("""
    INSERT INTO history_set_aside (import_id, line, reason)
    SELECT :id, line, left(reason, 300) FROM staged_history WHERE reason IS NOT NULL
""")

# The place of each good row within its trial, in the file's order.
PLACED = text("""
    CREATE TEMP TABLE placed_history ON COMMIT DROP AS
    SELECT row_number() OVER (PARTITION BY trial ORDER BY seq) AS place, * FROM staged_history
    WHERE reason IS NULL
""")

# Rows of this origin that have a new row's trial and place, and are others: two files took one origin's name.
OTHERS = text("""
    SELECT count(*) FROM placed_history p
    JOIN imported_interactions i ON i.origin = :origin AND i.trial = p.trial AND i.place = p.place
    WHERE (i.model, i.task, i.item, i.quality, i.generation_accuracy, i.strategy, i.created)
          IS DISTINCT FROM (p.model, p.task, p.item, p.quality, p.generation_accuracy, p.strategy, p.created)
""")

ADD = text("""
    INSERT INTO imported_interactions
        (origin, trial, place, import_id, kind, task, model, item, question, latency_s, temperature, quality,
         generation_accuracy, variance, review_accuracy, accuracy, elapsed, strategy, created)
    SELECT :origin, trial, place, :id, kind, task, model, item, question, latency_s, temperature, quality,
           generation_accuracy, variance, review_accuracy, accuracy, elapsed, strategy, created
    FROM placed_history
    ON CONFLICT DO NOTHING
""")

COUNTED = text("UPDATE history_imports SET rows = :rows WHERE id = :id")

KINDS = text("SELECT kind, count(*) AS rows FROM placed_history GROUP BY kind ORDER BY kind")

GOOD = text("SELECT count(*) FROM placed_history")

LIST = text("""
    SELECT h.id, h.origin, h.rows, h.set_aside, h.imported_at,
           ARRAY(SELECT DISTINCT i.kind FROM imported_interactions i
                 WHERE i.import_id = h.id AND i.origin = h.origin ORDER BY i.kind) AS kinds
    FROM history_imports h ORDER BY h.imported_at, h.id
""")

ORIGINS = text("SELECT DISTINCT origin FROM history_imports ORDER BY origin")

BAD_ROWS = text("""
    SELECT h.origin, s.import_id, s.line, s.reason
    FROM history_set_aside s JOIN history_imports h ON h.id = s.import_id
    WHERE CAST(:import_id AS uuid) IS NULL OR s.import_id = :import_id
    ORDER BY h.imported_at, s.import_id, s.line LIMIT :most
""")


class ImportRefused(ConsiliumError):
    """A file is not imported; nothing of it was stored, and the message says why."""


class SetAside(Protocol):
    """A row that could not be read: `str()` of it is our words for why."""

    @property
    def line(self) -> int:
        """1-based, where the record begins."""


@dataclass(frozen=True)
class Imported:
    """What an import did. `known` counts the file's good rows that were there before."""

    import_id: uuid.UUID
    origin: str
    kinds: dict[str, int]
    added: int
    known: int
    set_aside: int
    before: bool = False  # this very file was imported before: nothing was read


def kind_of(task: str) -> str:
    """A kind's slug made from a task's text: at most 60 characters of a-z, 0-9, - and /."""
    return re.sub(r"[^a-z0-9/]+", "-", task.lower())[:60].strip("-") or "task"


def known(session: Session, digest: str) -> Imported | None:
    """The import of a file with this content, if there was one."""
    row = session.execute(KNOWN, {"digest": digest}).one_or_none()
    return None if row is None else Imported(row.id, row.origin, {}, 0, 0, 0, before=True)


def add(
    session: Session, origin: str, digest: str, rows: Iterable[HistoryRow | SetAside], *, kind: str | None
) -> Imported:
    """Store a file's rows under an origin; `kind` stands for all of them, or each task makes its own.

    Raises `ImportRefused` while another import runs, and where rows of this origin hold other content.
    """
    if not session.execute(ALONE).scalar_one():
        raise ImportRefused("another import is running: try again when it has ended")
    before = known(session, digest)
    if before:
        return before
    session.execute(NO_LIMIT)
    session.execute(STAGING)
    driver = session.connection().connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(COPY) as copy:
        for row in _staged(rows, kind):
            copy.write_row(row)
    import_id = new_id()
    values = {"id": import_id, "origin": origin, "digest": digest}
    session.execute(PLACED)
    others = session.execute(OTHERS, values).scalar_one()
    if others:
        raise ImportRefused(
            f"{others} rows have the trial and place of other rows of the origin {origin}: give this file "
            "an origin of its own with --origin"
        )
    session.execute(IMPORT, values)
    session.execute(SET_ASIDE, values)
    added: int = session.execute(ADD, values).rowcount  # type: ignore[attr-defined]
    session.execute(COUNTED, {"id": import_id, "rows": added})
    kinds = {found.kind: found.rows for found in session.execute(KINDS)}
    good = sum(kinds.values())
    set_aside = session.execute(
        text("SELECT set_aside FROM history_imports WHERE id = :id"), {"id": import_id}
    ).scalar_one()
    return Imported(import_id, origin, kinds, added, good - added, set_aside)


def imports(session: Session) -> Sequence[dict[str, Any]]:
    """All imports, oldest first: id, origin, kinds, rows added, rows set aside, when."""
    return [dict(row._mapping) for row in session.execute(LIST)]


def origins(session: Session) -> Sequence[str]:
    """Whose history was imported, by name."""
    return session.execute(ORIGINS).scalars().all()


def bad_rows(
    session: Session, import_id: uuid.UUID | None = None, *, most: int | None = None
) -> Sequence[dict[str, Any]]:
    """Rows that were set aside, of one import or all: origin, import_id, line, reason."""
    found = session.execute(BAD_ROWS, {"import_id": import_id, "most": most})
    return [dict(row._mapping) for row in found]


def _staged(rows: Iterable[HistoryRow | SetAside], kind: str | None) -> Iterator[tuple[Any, ...]]:
    slugs: dict[str, str] = {}
    for seq, row in enumerate(rows):
        if not isinstance(row, HistoryRow):
            yield seq, row.line, str(row), *[None] * 16
            continue
        if kind is None and row.task not in slugs:
            slugs[row.task] = kind_of(row.task)
        yield (
            seq,
            None,
            None,
            kind or slugs[row.task],
            row.task,
            row.trial,
            row.model,
            row.item,
            question_of(row.result),
            row.latency_s,
            row.temperature,
            row.quality,
            row.generation_accuracy,
            row.variance,
            row.review_accuracy,
            row.accuracy,
            row.elapsed,
            row.strategy,
            row.created,
        )
