"""The work: queues, what is stuck or held, leases, dead letters, parked messages."""

from __future__ import annotations

from collections import Counter

from sqlalchemy.orm import Session

from db.queries import deliveries, health, invariants, measurements, receiving
from producers.doctor.configuration import longest_lease_s
from producers.health import Check, check, flow, queue_depths
from shared.registry import Registry
from shared.settings import Settings

QUIET_S = 300.0
"""Seconds without a new record after which an incomplete submission is told."""
LATE_S = 600.0
"""Seconds after which an event that has not arrived is told."""
SHOWN = 5
"""So many of a list are told, and how many there are."""


def queues(session: Session, settings: Settings) -> list[Check]:
    """The broker's queues, and whether somebody takes from them."""
    depths = queue_depths(settings)
    filled = {queue: depth for queue, depth in (depths or {}).items() if depth}
    told = ", ".join(f"{queue} {depth}" for queue, depth in filled.items()) or "all empty"
    beats = health.heartbeats(session, stale_s=settings.heartbeat_stale_s)
    depth = [Check("queue depth", "ok", told)] if depths is not None else []
    return [*depth, *flow(beats, health.workers(session))]


def stuck(session: Session) -> list[Check]:
    """What stands still without a reason, what is held, what waits longest."""
    stalled = measurements.stalled(session)
    first = ", ".join(f"{row['id']} for {row['age_s']:.0f} s" for row in stalled[:SHOWN])
    held: Counter[str] = Counter()
    for row in measurements.open_consultations(session):
        if row["held"]:
            held[row["held"]] += row["consultations"]
    waiting = measurements.oldest_waiting(session)
    count = sum(row["consultations"] for row in waiting)
    oldest = max((row["age_s"] for row in waiting), default=0)
    what_to_do = "the sweep resumes them; if they stay, see `consilium show` and the worker's logs"
    return [
        check(
            "stalled",
            not stalled,
            f"{len(stalled)}: {first}: {what_to_do}" if stalled else "nothing",
            else_="warning",
        ),
        check("held", not held, _held(held) if held else "nothing", else_="warning"),
        _received(session),
        Check("waiting", "ok", f"{count}, the oldest for {oldest:.0f} s" if count else "nothing"),
    ]


def _received(session: Session) -> Check:
    quiet = [each for each in receiving.incomplete(session) if each.idle_s > QUIET_S]
    told = ", ".join(f"{each.id} for {each.idle_s:.0f} s" for each in quiet[:SHOWN])
    remedy = "repeat `consilium submit` with its --idempotency-key; after an hour they are cancelled"
    return check(
        "incomplete submissions",
        not quiet,
        f"{len(quiet)}: {told}: {remedy}" if quiet else "none",
        else_="warning",
    )


def undelivered(session: Session) -> list[Check]:
    """Events that do not arrive where they should."""
    oldest_s, disabled = deliveries.oldest_s(session), deliveries.disabled(session)
    late = f"the oldest waits for {oldest_s:.0f} s: does `consilium deliver` run? `consilium webhooks list`"
    off = f"{disabled} webhooks are disabled after failures: `consilium webhooks list`"
    wrong = [told for bad, told in ((oldest_s > LATE_S, late), (disabled, off)) if bad]
    return [check("events", not wrong, "; ".join(wrong) or "all delivered, or on their way", else_="warning")]


def _held(held: Counter[str]) -> str:
    return "; ".join(f"{count} {reason}: {_WHAT_TO_DO.get(reason, '')}" for reason, count in held.items())


_WHAT_TO_DO = {
    "unread answer": "a stored answer our reader cannot read: upgrade, then `consilium reparse`",
    "no workers": "start workers; they go on by themselves",
    "no models": "see the models; they go on by themselves",
    "paused": "`consilium resume`",
    "budget": "raise it with `consilium budget`, or let them wait",
}


def leases(session: Session, settings: Settings, registry: Registry | None) -> list[Check]:
    """Who works on what; what was left behind."""
    found = invariants.leases(session)
    longest = longest_lease_s(registry, settings) if registry is not None else 0.0
    left = f"{found['run_out']}, the oldest for {found['run_out_s']:.0f} s"
    taken_over = found["run_out_s"] <= longest + settings.stall_slack_s
    orphaned = f"{found['orphaned']}: their work goes on when they run out"
    return [
        Check("leases", "ok", f"{found['live']} live"),
        check(
            "leases run out",
            taken_over,
            (left if taken_over else f"{left}: nobody takes them over; is there a sweep?")
            if found["run_out"]
            else "none",
            else_="warning",
        ),
        check(
            "leases of stopped workers",
            not found["orphaned"],
            orphaned if found["orphaned"] else "none",
            else_="warning",
        ),
    ]


def letters(session: Session) -> list[Check]:
    """Failed consultations and unknown messages, which wait for a person."""
    dead = {row["reason"]: row["consultations"] for row in measurements.dead_letters(session)}
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(dead.items()))
    parked = measurements.parked(session)
    return [
        check(
            "dead letters", not dead, f"{told}: `consilium failed list`" if dead else "none", else_="warning"
        ),
        check(
            "parked messages",
            not parked,
            f"{parked} of a version unknown here: run one version of us everywhere" if parked else "none",
            else_="warning",
        ),
    ]
