"""The two servers: versions, the settings that durability hangs on, and the clocks."""

from __future__ import annotations

import time

from sqlalchemy.orm import Session

from db.queries import invariants
from producers.brokers import Unreachable, asked_rabbitmq, asked_redis, broker_of, own_redis
from producers.health import Check, check, server_away
from shared.addresses import Address
from shared.broker import QUEUES, lengths
from shared.settings import Settings

SKEW_S = 1.0
"""Clocks that differ by more are told of. Leases go by PostgreSQL's alone, so that nothing breaks."""


def database(session: Session) -> list[Check]:
    """PostgreSQL's version."""
    number, words = invariants.version(session)
    return [check("postgresql", number >= 160_000, f"{words} (16 or newer is needed)")]


def broker(settings: Settings) -> list[Check]:
    """The broker's version, whether it may evict or forget; the same of Redis where that is another one."""
    at = broker_of(settings)
    found = _rabbitmq(at) if at.rabbitmq else _redis("broker", at.url)
    return [*found, *_redis("redis", settings.require_redis())] if own_redis(settings) else found


def _rabbitmq(at: Address) -> list[Check]:
    try:
        with asked_rabbitmq(at) as connection:
            told = connection.connection.server_properties
            lengths(connection, QUEUES)  # whether this user may look into ours
    except Unreachable as away:
        return [server_away("broker", away)]
    version = str(told.get("version", "not told"))
    new = tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= (3, 10)
    return [check("broker", new, f"{told.get('product')} {version} (RabbitMQ 3.10 or newer is needed)")]


def _redis(name: str, url: str) -> list[Check]:
    try:
        with asked_redis(url) as client:
            info = client.info()
    except Unreachable as away:
        return [server_away(name, away)]
    version = str(info["redis_version"])
    words = f"{info.get('server_name', 'redis')} {info.get('valkey_version', version)}"
    new = tuple(int(part) for part in version.split(".")[:2]) >= (6, 2)
    policy = info.get("maxmemory_policy", "not told")
    evicts = f"maxmemory-policy is {policy}"
    kept = bool(info.get("aof_enabled"))
    return [
        check(name, new, f"{words} (Redis 6.2 or newer, or Valkey, is needed)"),
        check(
            f"{name} evicts nothing",
            policy == "noeviction",
            evicts if policy == "noeviction" else f"{evicts}: set noeviction, or messages vanish",
        ),
        check(
            f"{name} keeps messages over a restart",
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
        with asked_redis(settings.require_redis()) as client:
            client.ping()  # the connection is made before the clock is read
            before = time.time()
            seconds, microseconds = client.time()
    except Unreachable:
        return found  # told already
    return [*found, _skew("redis" if own_redis(settings) else "broker", seconds + microseconds / 1e6, before)]


def _skew(server: str, theirs: float, before: float) -> Check:
    skew = theirs - (before + time.time()) / 2
    good = abs(skew) <= SKEW_S
    told = f"{skew:+.3f} s from this machine's"
    return check(
        f"clock of {server}", good, told if good else f"{told}: run NTP on both machines", else_="warning"
    )
