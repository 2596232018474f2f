"""The two servers: versions, the settings that durability hangs on, and the clocks."""

from __future__ import annotations

import time
from contextlib import closing

import redis
from sqlalchemy.orm import Session

from db.queries import invariants
from producers.health import BROKER_AWAY, Check, broker_client, check
from shared.settings import Settings

SKEW_S = 1.0
"""Clocks that differ by more are told of. Leases go by PostgreSQL's alone, so that nothing breaks."""


def database(session: Session) -> list[Check]:
    """PostgreSQL's version."""
    number, words = invariants.version(session)
    return [check("postgresql", number >= 160_000, f"{words} (16 or newer is needed)")]


def broker(settings: Settings) -> list[Check]:
    """The broker's version, and whether it may evict or forget."""
    try:
        with closing(broker_client(settings)) as client:
            info = client.info()
    except redis.RedisError:
        return [BROKER_AWAY]
    version = str(info["redis_version"])
    words = f"{info.get('server_name', 'redis')} {info.get('valkey_version', version)}"
    new = tuple(int(part) for part in version.split(".")[:2]) >= (6, 2)
    policy = info.get("maxmemory_policy", "not told")
    evicts = f"maxmemory-policy is {policy}"
    kept = bool(info.get("aof_enabled"))
    return [
        check("broker", new, f"{words} (Redis 6.2 or newer, or Valkey, is needed)"),
        check(
            "broker evicts nothing",
            policy == "noeviction",
            evicts if policy == "noeviction" else f"{evicts}: set noeviction, or messages vanish",
        ),
        check(
            "broker keeps messages over a restart",
            kept,
            "appendonly yes" if kept else "appendonly no: a restart costs a sweep; set appendonly yes",
            else_="warning",
        ),
    ]


def clocks(session: Session, settings: Settings) -> list[Check]:
    """How far this machine's clock is from the servers', by the middle of a question to each."""
    before = time.time()
    theirs = invariants.clock_s(session)
    found = [_skew("postgresql", theirs, before)]
    try:
        with closing(broker_client(settings)) as client:
            client.ping()  # the connection is made before the clock is read
            before = time.time()
            seconds, microseconds = client.time()
    except redis.RedisError:
        return found  # told already
    return [*found, _skew("broker", seconds + microseconds / 1e6, before)]


def _skew(server: str, theirs: float, before: float) -> Check:
    skew = theirs - (before + time.time()) / 2
    good = abs(skew) <= SKEW_S
    told = f"{skew:+.3f} s from this machine's"
    return check(
        f"clock of {server}", good, told if good else f"{told}: run NTP on both machines", else_="warning"
    )
