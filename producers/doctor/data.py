"""The invariants of the stored data: what must be 0."""

from __future__ import annotations

from sqlalchemy.orm import Session

from db.queries import invariants, reports
from producers.doctor.configuration import longest_lease_s
from producers.health import Check, check
from shared.registry import Registry
from shared.settings import Settings

A_BUG = "a bug of ours: keep the database, and report it"


def data(session: Session, settings: Settings, registry: Registry | None, days: float | None) -> list[Check]:
    """Each invariant with the count of what breaks it, in one snapshot."""
    ids = invariants.submissions(session, days)
    span = "ever" if days is None else f"within {days:g} days, or open"
    counts = {name: invariants.broken(session, name, ids) for name in invariants.INVARIANTS}
    calls = [reports.call_counts(session, id_) for id_ in ids]
    counts["no answer is paid twice"] = sum(call["dup"] + call["overlap"] for call in calls)
    if registry is not None:
        lease = longest_lease_s(registry, settings)
        counts["an open call has its claim"] = invariants.calls_without_claim(session, lease_s=lease)
    return [
        Check("looked at", "ok", f"{len(ids)} submissions received {span}"),
        *(
            check(name, not count, f"{count} break it: {A_BUG}" if count else "holds")
            for name, count in counts.items()
        ),
    ]
