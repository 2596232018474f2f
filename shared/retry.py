"""What follows a failed call to a model. One layer retries, and this is its rule book.

| kind of error | counted as a try | then |
| --- | --- | --- |
| rate_limited | no, bounded in total time | Retry-After, else a short wait: the shared limit backs off |
| unavailable | yes | Retry-After, else exponential with full jitter, up to `max_tries` |
| malformed | yes | one repair request that names the fault, then afresh, up to `max_tries` |
| rejected, refused, over_length | yes | excused at once: the same request fails again |
| given_up | no | the lease is given back (shutdown) |
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from shared.errors import ModelError, OverLength, RateLimited, Refused, Rejected
from shared.settings import Settings


@dataclass(frozen=True)
class Verdict:
    """What becomes of the owed answer: again after `wait_s` seconds, or excused."""

    counted: bool
    wait_s: float
    excuse: bool = False
    limited: bool = False


def backoff_s(attempt: int, settings: Settings, rng: random.Random) -> float:
    """Exponential back-off with full jitter: uniform in [0, min(cap, base · 2^attempt)] seconds."""
    return rng.uniform(0, min(settings.backoff_cap_s, settings.backoff_base_s * 2 ** min(attempt, 30)))


def judge(
    error: ModelError, *, tries: int, limited_s: float | None, settings: Settings, rng: random.Random
) -> Verdict:
    """The verdict on a call that failed, after `tries` counted failures before it.

    `limited_s`: seconds since the first of the rate limits in a row, None if this is the first.
    """
    if isinstance(error, RateLimited):
        wait = max(error.retry_after_s or 0, backoff_s(tries + 1, settings, rng))
        spent = (limited_s or 0) + wait
        return Verdict(counted=False, wait_s=wait, excuse=spent > settings.rate_limit_total_s, limited=True)
    if isinstance(error, Rejected | Refused | OverLength):
        return Verdict(counted=True, wait_s=0, excuse=True)
    wait = max(error.retry_after_s or 0, backoff_s(tries, settings, rng))
    away = wait > settings.rate_limit_total_s  # by its own word, longer than any answer waits for limits
    return Verdict(counted=True, wait_s=wait, excuse=away or tries + 1 >= settings.max_tries)
