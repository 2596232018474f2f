"""How much a source may ask: requests a minute over all processes, and bodies at once of each process.

The minute is counted in the site's Redis, so several API processes share it; while Redis is away requests go
on. There is no bound on wrong keys: a secret of 256 bits is not guessed, and behind a reverse proxy all have
one address, so whoever tried would lock out the rest.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from producers.api.problems import Problem
from shared.settings import Settings

log = logging.getLogger("consilium.api")
WINDOW_S = 60
UPLOADS = 4
"""Bodies of one source that one process takes at once."""
ALL_UPLOADS = 20
"""Bodies of all sources that one process takes at once. Each holds a thread while it waits for the network:
half of the 40 that anyio gives to all routes, and fewer than the pool has connections, so that whoever else
asks is answered."""
UPLOAD_RETRY_S = 10
_AWAY_S = 5.0  # Redis that is away is asked again after this
_PREFIX = "consilium:api:requests:"


class Limits:
    """For one process; threads share it. `window_s` is for tests."""

    def __init__(self, settings: Settings, *, window_s: float = WINDOW_S) -> None:
        self._most = settings.api_requests_per_minute
        self._window_ms = round(window_s * 1000)
        self._redis = redis.Redis.from_url(
            settings.require_redis(),
            socket_timeout=1,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._away_until = 0.0
        self._lock = threading.Lock()
        self._uploads: Counter[uuid.UUID] = Counter()

    def request(self, source_id: uuid.UUID, per_minute: int | None = None) -> None:
        """Count a request. Raises `Problem` 429; after the seconds of its Retry-After a new minute begins."""
        most = per_minute or self._most
        if (wait_s := self._wait_s(f"{_PREFIX}{source_id}", most)) is not None:
            raise _too_many(f"your source may send {most} requests a minute", wait_s)

    @contextmanager
    def upload(self, source_id: uuid.UUID) -> Iterator[None]:
        """Takes a place for bodies, of the source's and of all, until it is left. Raises `Problem` 429."""
        with self._lock:
            if self._uploads[source_id] >= UPLOADS:
                raise _too_many(f"{UPLOADS} bodies of your source are received already", UPLOAD_RETRY_S)
            if self._uploads.total() >= ALL_UPLOADS:
                raise _too_many("as many bodies as can be are received already", UPLOAD_RETRY_S)
            self._uploads[source_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._uploads[source_id] -= 1
                if not self._uploads[source_id]:
                    del self._uploads[source_id]

    def _wait_s(self, key: str, most: int) -> int | None:
        """Seconds until the source may ask again; None: now. Redis' own clock counts."""
        if time.monotonic() < self._away_until:
            return None
        try:
            with self._redis.pipeline(transaction=True) as together:
                together.set(key, 0, px=self._window_ms, nx=True)
                together.incr(key)
                together.pttl(key)
                _, count, left_ms = together.execute()
        except redis.RedisError as error:
            log.warning("requests are not counted for %.0f s: %s", _AWAY_S, type(error).__name__)
            self._away_until = time.monotonic() + _AWAY_S
            return None
        return max(1, math.ceil(left_ms / 1000)) if count > most else None


def _too_many(what: str, wait_s: int) -> Problem:
    return Problem(
        429,
        f"{what}: try again in {wait_s} s",
        type_="too-many-requests",
        headers={"Retry-After": str(wait_s)},
    )
