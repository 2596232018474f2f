"""Limits shared by all workers and machines: calls in flight, requests and tokens a minute, in Redis.

A call starts only where its model and its provider's key both allow it. `acquire.lua` decides and books in
one round trip, and tells who is refused when to come again; `release.lua` frees the place and learns how many
calls the model bears (the rule stands there in words). What Redis holds is worth a minute: after a flush the
calls in flight are put back (`rebuild`), and the rest is learned again.

Requests and tokens are counted strictly, in a sliding log that is `MARGIN` longer than the minute: two calls
that start a minute apart may arrive closer together, if the first was held up on its way. Once its answer
tells, a call's entry is moved to when it reached the server at the latest; the margin is for what that does
not show. So the server sees no more than its rate unless a call is held up for over 15 % of the minute.

While Redis is away calls go on without the limiter: an outage of Redis must not stop work that is paid for
and in hand, and the processes' slots still bound it. Releases are kept and told when it is back.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Literal, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.registry import Limits, Model
from shared.settings import Settings

log = logging.getLogger("consilium.limits")
T = TypeVar("T")

MARGIN = 0.05  # of the window
AWAY_S = 5.0  # after a failure Redis is not asked again for so long
SAY_AGAIN_S = 60.0
KEEP_S = 86_400  # as in common.lua
UNTOLD = 10_000  # releases kept while Redis is away

Outcome = Literal["answered", "failed", "limited", "unsent"]


@dataclass(frozen=True)
class Learned:
    """What is known of a model now: calls in flight, the most that are let in, seconds that all wait for."""

    in_flight: int
    limit: float
    waits_s: float


def connect(url: str) -> redis.Redis:
    """A client that gives a hung Redis up after 1 s; one that closed our connection is asked once more."""
    return redis.Redis.from_url(
        url,
        socket_timeout=1,
        socket_connect_timeout=1,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


class Limiter:
    """The limits of all models, for one process; threads may share it.

    `client` comes from `connect`. Nothing here raises because Redis is away. `clock` (seconds) and `prefix`
    are for tests; Redis' own clock is the one that all machines share.
    """

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        *,
        prefix: str = "consilium:limits:",
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._prefix = prefix
        self._clock = clock
        self._window_s = settings.limit_window_s * (1 + MARGIN)
        self._acquire = client.register_script(_script("acquire"))
        self._release = client.register_script(_script("release"))
        self._untold: deque[tuple[list[str], list[Any]]] = deque(maxlen=UNTOLD)
        self._ask_again_at = self._say_again_at = 0.0

    def acquire(
        self, model: Model, call_id: str, *, tokens: int, lease_s: float, own: Limits, provider: Limits
    ) -> float:
        """0.0: the call may start and is booked; -1.0: it was already; else seconds after which to ask again.

        `tokens` is an estimate of prompt and answer, `own` the model's limits as they are in force now,
        `provider` those of its provider's key. After `lease_s` seconds the place is free, released or not.
        Asked again for a call that is booked already, it may start. Redis away: 0.0.
        """
        args: list[str | int | float] = [
            call_id,
            max(tokens, 0),
            lease_s,
            self._window_s,
            self._settings.in_flight_start,
            own.max_in_flight or self._settings.in_flight_cap,
            own.requests_per_minute or 0,
            own.tokens_per_minute or 0,
            provider.max_in_flight or 0,
            provider.requests_per_minute or 0,
            provider.tokens_per_minute or 0,
            self._now(),
        ]
        self._tell()
        try:
            return float(self._ask(partial(self._acquire, keys=self._keys(model), args=args)))
        except _AwayError:
            return 0.0

    def release(
        self,
        model: Model,
        call_id: str,
        outcome: Outcome,
        *,
        tokens: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """The call has ended. `tokens` are those it used; None: not known (limited: none).

        answered   its place is free, and the limit may grow
        failed     its place is free
        limited    a 429: the limit shrinks, and for `retry_after_s` seconds nobody calls the model
        unsent     it never reached the server: as if it had not been acquired
        """
        used = "" if tokens is None else max(tokens, 0)
        wait_s = "" if retry_after_s is None else max(retry_after_s, 0.0)
        args = [call_id, outcome, used, wait_s, self._window_s, self._now()]
        self._untold.append((self._keys(model), args))
        self._tell()

    def snapshot(self, names: Iterable[str]) -> dict[str, Learned]:
        """What is known of these models (their names in models.toml); empty while Redis is away."""
        wanted = list(names)
        try:
            return self._ask(partial(self._look, wanted))
        except _AwayError:
            return {}

    def rebuild(self, open_calls: Iterable[tuple[Model, str, float]]) -> None:
        """After a flush: book the calls in flight (model, call, seconds left of its lease) again.

        They count as sent just now, which is the safe side of not knowing when. What is booked already stays.
        """
        rows = list(open_calls)
        try:
            self._ask(partial(self._book, rows))
        except _AwayError:
            return

    def _look(self, names: list[str]) -> dict[str, Learned]:
        now = self._time()
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                state, calls, *_ = self._scope(f"model:{name}")
                pipe.zcount(calls, f"({now:.6f}", "+inf")
                pipe.hmget(state, ["limit", "hold"])
            answers = pipe.execute()
        start = min(self._settings.in_flight_start, self._settings.in_flight_cap)
        return {
            name: Learned(int(in_flight), float(limit or start), max(float(hold or 0) - now, 0.0))
            for name, in_flight, (limit, hold) in zip(names, answers[::2], answers[1::2], strict=True)
        }

    def _book(self, rows: list[tuple[Model, str, float]]) -> None:
        now = self._time()
        ranks: dict[str, int] = {}
        with self._client.pipeline() as pipe:
            for model, call_id, left_s in rows:
                if left_s <= 0:
                    continue
                ranks[model.name] = ranks.get(model.name, 0) + 1
                _, calls, begun, entries, _, provider_calls, provider_entries = self._keys(model)
                pipe.hsetnx(begun, call_id, f"{now:.6f} {ranks[model.name]} 0")
                for key in (calls, provider_calls):
                    pipe.zadd(key, {call_id: now + left_s}, nx=True)
                for key in (entries, provider_entries):
                    pipe.zadd(key, {f"0 {call_id}": now}, nx=True)
                for key in (calls, begun, entries, provider_calls, provider_entries):
                    pipe.expire(key, max(KEEP_S, int(left_s) + 1))
            pipe.execute()

    def _tell(self) -> None:
        """Tell all releases that are not told yet; telling one twice does no harm."""
        while self._untold:
            try:
                keys, args = self._untold.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                self._ask(partial(self._release, keys=keys, args=args))
            except _AwayError:
                self._untold.appendleft((keys, args))
                return

    def _ask(self, what: Callable[[], T]) -> T:
        """What Redis answers. Raises `_AwayError` if it does not, and for a while without asking it."""
        now = time.monotonic()
        if now < self._ask_again_at:
            raise _AwayError
        try:
            return what()
        except redis.RedisError as error:
            self._ask_again_at = time.monotonic() + AWAY_S
            if now >= self._say_again_at:
                self._say_again_at = now + SAY_AGAIN_S
                log.error("limits not kept: redis away type=%s", type(error).__name__)
            raise _AwayError from None

    def _time(self) -> float:
        if self._clock is not None:
            return self._clock()
        seconds, micros = self._client.time()
        return float(seconds) + float(micros) / 1e6

    def _now(self) -> float | str:
        """The tests' clock; empty lets Redis look at its own."""
        return "" if self._clock is None else self._clock()

    def _keys(self, model: Model) -> list[str]:
        """The keys of the model's scope and of its provider's key, as both scripts take them."""
        whose = model.key_env or str(model.key_file or "")
        key = hashlib.sha256(whose.encode()).hexdigest()[:16]
        state, calls, _, entries = self._scope(f"key:{model.provider}:{key}")
        return [*self._scope(f"model:{model.name}"), state, calls, entries]

    def _scope(self, name: str) -> tuple[str, str, str, str]:
        base = f"{self._prefix}{name}"
        return f"{base}:state", f"{base}:calls", f"{base}:begun", f"{base}:log"


class _AwayError(Exception):
    """Redis did not answer."""


def _script(name: str) -> str:
    """A script's text, behind what both begin with."""
    folder = files(__name__)
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("common", name))
