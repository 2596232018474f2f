"""Whether work flows, as named checks: what `consilium health`, `/healthz` and the doctor ask."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.engine import transaction, why_away
from db.queries import health
from db.queries.health import Heartbeat, Worker
from db.queries.heartbeats import OWN
from producers.brokers import Unreachable, asked_redis, broker_of, depths, own_redis
from shared.broker import QUEUES
from shared.settings import Settings

SILENT_AFTER_S = 30.0
"""A worker says every 10 s that it is alive; after three of these it is silent."""
FORGOTTEN_AFTER_S = 3600.0
"""A silent worker whose queues others serve is told of for so long: then it was one too many."""
STATEMENT_S = 10
"""A check that takes longer than this tells that the database is away."""

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Check:
    """One check's result. `told` is what was found and, unless it is ok, what to do; never clinical."""

    name: str
    level: Level
    told: str = ""


def check(name: str, good: bool, told: str, *, else_: Level = "problem") -> Check:
    """A check that is ok if `good`, else a problem (or what `else_` says), told in the same words."""
    return Check(name, "ok" if good else else_, told)


def flows(settings: Settings) -> list[Check]:
    """All checks of a site: database, migrations, broker, the sweep, each queue, the workers.

    Where the database is away, or is not ours, what only it could tell is left out. Raises `SettingsError`.
    """
    url = settings.require_database()
    servers = _servers(settings)
    try:
        with transaction(url) as session:
            _bounded(session)
            migrations = migrated(session, url)
            if migrations.level != "ok":
                return [_DATABASE, migrations, *servers]
            beats = health.heartbeats(session, stale_s=settings.heartbeat_stale_s)
            workers = health.workers(session)
    except DBAPIError as error:
        return [database_away(error), *servers]
    return [_DATABASE, migrations, *servers, *flow(beats, workers)]


def worker_flows(settings: Settings, name: str) -> list[Check]:
    """Whether one worker process takes work; `name` is Celery's node name or its part before the @.

    Made for a container's health check: where the database or the broker is away, nothing can be told of the
    worker and restarting it would help nobody, so that is a warning. Raises `SettingsError`.
    """
    try:
        with transaction(settings.require_database()) as session:
            _bounded(session)
            found = _named(health.workers(session), name)
            leases = health.leases_of(session, found.name) if found else 0
    except DBAPIError as error:
        away = database_away(error)
        return [Check(away.name, "warning", f"{away.told}; nothing can be told of the worker")]
    if found is None:
        return [Check("registered", "problem", f"no worker {name} has ever registered: see its log")]
    checks = [
        check("registered", not found.stopped, f"{found.name} has stopped" if found.stopped else found.name),
        check("seen", found.seen_s < SILENT_AFTER_S, f"{found.seen_s:.0f} s ago"),
    ]
    if found.consumed_s < settings.idle_s:
        return [*checks, Check("takes work", "ok", f"{found.consumed_s:.0f} s ago")]
    if leases >= found.slots:
        return [*checks, Check("takes work", "ok", f"all {found.slots} slots are busy")]
    if (depths := queue_depths(settings)) is None:
        return [*checks, Check("takes work", "warning", "the broker is away: nothing can be told")]
    waiting = sum(depths.get(queue, 0) for queue in found.queues)
    told = f"nothing for {found.consumed_s:.0f} s, {waiting} messages wait in its queues"
    return [*checks, check("takes work", waiting == 0, told + (": restart it" if waiting else ""))]


def queue_depths(settings: Settings) -> dict[str, int] | None:
    """Messages that lie in each of the broker's queues; None if it cannot be reached."""
    try:
        return depths(settings)
    except Unreachable:
        return None


def migrated(session: Session, url: str) -> Check:
    """Whether the database is at the newest migration of this version of ours."""
    from db import migrate  # Alembic, which a worker's own check does without

    head = migrate.head(url)
    at = health.revision(session)
    if at == head:
        return Check("migrations", "ok", f"at {at}")
    if at is not None and not migrate.knows(url, at):
        told = f"at {at}, which a newer version made; this one knows up to {head}: install the newer one"
        return Check("migrations", "problem", told)
    told = f"at {at or 'none'}, this version wants {head}: run `python -m db.migrate upgrade`"
    return Check("migrations", "problem", told)


def _bounded(session: Session) -> None:
    session.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_S}s'"))


_DATABASE = Check("postgresql", "ok", "reachable")


def database_away(error: DBAPIError) -> Check:
    """The check of a database that gave no answer; a driver's message may quote a row and is not told."""
    if why := why_away(error):
        return Check("postgresql", "problem", f"cannot be asked: {why}")
    told = f"cannot be asked ({type(error.orig).__name__}): is it up, and is CONSILIUM_DATABASE_URL right?"
    return Check("postgresql", "problem", told)


def server_away(name: str, away: Unreachable) -> Check:
    """The check of a broker or a Redis that gave no answer."""
    why = f" ({away})" if str(away) else ""
    told = f"cannot be reached{why}: is it up, and is CONSILIUM_{name.upper()}_URL right?"
    return Check(name, "problem", f"{told} What is accepted waits for it")


def _servers(settings: Settings) -> list[Check]:
    """The broker, and Redis where that is another server."""
    try:
        depths(settings)
        found = [Check("broker", "ok", f"reachable ({broker_of(settings).name})")]
    except Unreachable as away:
        found = [server_away("broker", away)]
    if own_redis(settings):
        try:
            with asked_redis(settings.require_redis()) as client:
                client.ping()
            found.append(Check("redis", "ok", "reachable"))
        except Unreachable as away:
            found.append(server_away("redis", away))
    return found


def flow(beats: Sequence[Heartbeat], workers: Sequence[Worker]) -> list[Check]:
    """The sweep, by when it last ran; the other queues, by their heartbeats; workers."""
    by_queue = {beat.queue: beat for beat in beats}
    sweep = by_queue.get(OWN)
    if sweep is None:
        swept = Check("sweep", "problem", "has never run: start `beat` and the worker `conclude`")
    elif sweep.stale:
        told = f"last ran {sweep.age_s:.0f} s ago: is `beat` up, is the worker `conclude`, is the broker?"
        swept = Check("sweep", "problem", told)
    else:
        swept = Check("sweep", "ok", f"ran {sweep.age_s:.0f} s ago")
    queues = [_queue(name, by_queue.get(name)) for name in QUEUES if name != OWN]
    return [swept, *queues, _workers(workers)]


def _queue(name: str, beat: Heartbeat | None) -> Check:
    if beat is None:
        return Check(f"queue {name}", "ok", "no heartbeat was sent through it yet")
    if beat.stale:
        told = f"no workers take from {name} (nothing went through for {beat.age_s:.0f} s): start one"
        return Check(f"queue {name}", "problem", told)
    return Check(f"queue {name}", "ok", f"a heartbeat went through {beat.age_s:.0f} s ago")


def _workers(workers: Sequence[Worker]) -> Check:
    """A silent worker is a problem where nobody else takes from one of its queues."""
    running = [w for w in workers if not w.stopped and w.seen_s < SILENT_AFTER_S]
    silent = [w for w in workers if not w.stopped and w.seen_s >= SILENT_AFTER_S]
    served = {queue for worker in running for queue in worker.queues}
    missed = [w.name for w in silent if not served.issuperset(w.queues)]
    if missed:
        told = f"silent, and nobody in their place: {', '.join(missed)}; see their logs, start them"
        return Check("workers", "problem", told)
    lately = [w.name for w in silent if w.seen_s < FORGOTTEN_AFTER_S]
    if lately:
        told = f"{len(running)} running; silent, and others do their work: {', '.join(lately)}"
        return Check("workers", "warning", told)
    told = f"{len(running)} running" if running else "none is running: start some"
    return check("workers", bool(running), told)


def _named(workers: Sequence[Worker], name: str) -> Worker | None:
    """That worker; of several machines' with the same name, this machine's, else the one seen last."""
    found = [w for w in workers if name in (w.name, w.name.partition("@")[0])]
    here = f"{name}@{platform.node()}"
    return max(found, key=lambda w: (w.name in (name, here), -w.seen_s), default=None)
