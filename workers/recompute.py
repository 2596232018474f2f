"""What beat recomputes from stored history: immutable snapshots, skipped when nothing has changed."""

from __future__ import annotations

import hashlib

from db.queries import model_versions, snapshots
from db.queries.snapshots import RawGrade
from shared.memory import RawReview, estimate
from workers.context import Context

KIND = "reviewers"


def reviewers(ctx: Context) -> str:
    """The reviewers' memory from raw grades; `stored`, `unchanged` or `empty`."""
    purposes = [p.strip() for p in ctx.settings.history_purposes.split(",")]
    with ctx.transaction() as session:
        rows = snapshots.raw_grades(session, purposes)
        before = snapshots.latest(session, KIND)
        if not rows:
            return "empty"
        heirs = {str(new): str(old) for new, old in model_versions.predecessors(session).items()}
        digest = _digest(rows, heirs)
        if digest == before.digest:
            return "unchanged"
        memory = estimate([_raw(row) for row in rows], predecessors=heirs)
        snapshots.add(
            session,
            kind=KIND,
            number=before.number + 1,
            form="memory",
            parameters={},
            purposes=purposes,
            span_from=rows[0].created_at,
            span_to=rows[-1].created_at,
            rows_read=len(rows),
            digest=digest,
            body=memory.to_json(),
        )
    return "stored"


def _raw(row: RawGrade) -> RawReview:
    return RawReview(
        item=str(row.item),
        reviewer=str(row.reviewer),
        family=row.family,
        kind=row.kind,
        grade=row.grade,
        at=row.created_at.timestamp(),
    )


def _digest(rows: list[RawGrade], heirs: dict[str, str]) -> str:
    """SHA-256 over the input in its order: the same rows give the same snapshot."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.item} {row.reviewer} {row.family} {row.kind} {row.grade!r}\n".encode())
    digest.update(repr(sorted(heirs.items())).encode())
    return digest.hexdigest()
