"""What is recomputed from stored history: immutable snapshots, skipped when nothing has changed.

Beat's task and `consilium … recompute` call the same function; it never runs twice at once for one kind, and
whatever fails leaves the last snapshot in force.
"""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries import calibration, drug_decisions, history, model_versions, snapshots
from db.queries.snapshots import RawGrade
from shared.calibration import fit
from shared.chemistry.effects import learn
from shared.frozen import Frozen
from shared.memory import RawReview, Sums
from shared.settings import Settings
from shared.support_fit import learn as learn_support

KINDS = ("reviewers", "chemistry", "calibration", "support")

TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('consilium recompute ' || :kind))")
LOCK = text("SELECT pg_advisory_xact_lock(hashtext('consilium recompute ' || :kind))")

SPAN = text("""
    SELECT min(i.created_at) AS first, max(i.created_at) AS last
    FROM interactions i JOIN consultations c ON c.id = i.consultation_id AND c.source_id = i.source_id
    WHERE i.purpose = ANY(:purposes)
      AND (CAST(:submissions AS uuid[]) IS NULL OR c.submission_id = ANY(:submissions))
""")


@dataclass(frozen=True)
class Read:
    """Which history is learned from: purposes, and of which submissions alone (None: of all)."""

    purposes: tuple[str, ...]
    submissions: tuple[uuid.UUID, ...] | None = None


@dataclass(frozen=True)
class Made:
    """A snapshot about to be stored; `body` is made only if its input has changed."""

    form: str
    rows: int
    digest: str
    body: Callable[[], dict[str, Any]]
    span: tuple[datetime | None, datetime | None] = (None, None)
    parameters: dict[str, Any] = field(default_factory=dict)


def recompute(
    session: Session, kind: str, settings: Settings, *, scope: str = snapshots.SITE, read: Read | None = None
) -> str:
    """One snapshot in the session's transaction: `stored`, `unchanged`, `empty` (no history) or `busy`.

    `read`: by default what CONSILIUM_HISTORY_PURPOSES names.
    """
    if not session.execute(TRY_LOCK, {"kind": kind}).scalar_one():
        return "busy"
    read = read or Read(purposes(settings))
    made = MAKERS[kind](session, settings, read)
    if made is None:
        return "empty"
    before = snapshots.latest(session, kind, scope)
    digest = _digest([made.digest, made.form, json.dumps([made.parameters, read.purposes], sort_keys=True)])
    if before is not None and digest == before.digest:
        return "unchanged"
    snapshots.add(
        session,
        kind=kind,
        scope=scope,
        form=made.form,
        parameters=made.parameters,
        purposes=list(read.purposes),
        span_from=made.span[0],
        span_to=made.span[1],
        rows_read=made.rows,
        digest=digest,
        body=made.body(),
    )
    return "stored"


def freeze(session: Session, settings: Settings, *, scope: str, submissions: Sequence[uuid.UUID]) -> Frozen:
    """Learn from these submissions alone, for one evaluation: what chooses and calibrates in it."""
    read = Read(("training",), tuple(submissions))
    for kind in KINDS:
        session.execute(LOCK, {"kind": kind})  # the site's own run is waited for
        recompute(session, kind, settings, scope=scope, read=read)
    return snapshots.in_force(session, scope)


def purposes(settings: Settings) -> tuple[str, ...]:
    """The purposes that are learned from."""
    return tuple(p.strip() for p in settings.history_purposes.split(","))


def _reviewers(session: Session, _: Settings, read: Read) -> Made | None:
    """The reviewers' memory from raw grades: with its last grade an item is added up and forgotten."""
    digest, sums = hashlib.sha256(), Sums()
    begun: dict[uuid.UUID, list[RawReview]] = defaultdict(list)
    rows, first, last = 0, None, None
    for row in snapshots.raw_grades(session, read.purposes, read.submissions):
        digest.update(f"{row.item} {row.reviewer} {row.family} {row.kind} {row.grade!r}\n".encode())
        begun[row.item].append(_raw(row))
        if len(begun[row.item]) == row.of_item:
            sums.add(begun.pop(row.item))
        rows, first, last = rows + 1, first or row.created_at, row.created_at
    if not rows:
        return None
    heirs = {str(new): str(old) for new, old in model_versions.predecessors(session).items()}
    digest.update(f"{sorted(heirs.items())!r}\n".encode())
    return Made(
        form="memory",
        rows=rows,
        digest=digest.hexdigest(),
        body=lambda: sums.memory(heirs).to_json(),
        span=(first, last),
    )


def _chemistry(session: Session, _: Settings, read: Read) -> Made | None:
    """Model means and pairs from the interaction history."""
    found = history.aggregates(session, read.purposes, read.submissions)
    if not found.rows:
        return None
    return Made(
        form="default",
        rows=found.rows,
        digest=found.digest,
        body=lambda: learn(found).to_json(),
        span=_span(session, read),
    )


def _span(session: Session, read: Read) -> tuple[datetime | None, datetime | None]:
    """Over own consultations; imported rows bear their files' own times."""
    submissions = None if read.submissions is None else list(read.submissions)
    row = session.execute(SPAN, {"purposes": list(read.purposes), "submissions": submissions}).one()
    return row.first, row.last


def _calibration(session: Session, settings: Settings, read: Read) -> Made | None:
    """The calibrator of confidence, from consultations with an outcome; none below enough vignettes."""
    cases = calibration.cases(session, read.purposes, read.submissions)
    calibrator = fit(cases, least=settings.calibration_vignettes)
    if calibrator is None:
        return None
    return Made(
        form=calibrator.form,
        rows=len(cases),
        digest=_digest(repr(case) for case in cases),
        body=calibrator.to_json,
        parameters={"least": settings.calibration_vignettes},
    )


def _support(session: Session, _: Settings, read: Read) -> Made | None:
    """How often what each model names belongs, from outcomes."""
    decisions = drug_decisions.decisions(session, read.purposes, read.submissions)
    if not decisions:
        return None
    return Made(
        form="shares",
        rows=len(decisions),
        digest=_digest(repr(decision) for decision in decisions),
        body=lambda: learn_support(decisions).to_json(),
    )


Maker = Callable[[Session, Settings, Read], Made | None]
MAKERS: dict[str, Maker] = {
    "reviewers": _reviewers,
    "chemistry": _chemistry,
    "calibration": _calibration,
    "support": _support,
}


def _raw(row: RawGrade) -> RawReview:
    return RawReview(
        item=str(row.item),
        reviewer=sys.intern(str(row.reviewer)),
        family=sys.intern(row.family),
        kind=sys.intern(row.kind),
        grade=row.grade,
        at=row.created_at.timestamp(),
    )


def _digest(lines: Iterable[str]) -> str:
    """SHA-256 over the input in its order: the same rows give the same snapshot."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
