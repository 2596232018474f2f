"""What follows a failed call: how long is waited, what counts, and when it is given up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ModelError, OverLength, RateLimited, Refused, Rejected, Unavailable
from shared.retry import backoff_s, judge
from shared.settings import Settings

seconds = st.floats(0.01, 10_000)
rngs = st.integers(0, 2**32).map(random.Random)
tries = st.integers(0, 1_000)


def settings(**changes: float) -> Settings:
    """Settings without the environment."""
    return Settings(_env_file=None, **changes)  # type: ignore[arg-type]


SETTINGS = settings()


@given(tries, seconds, seconds, rngs)
def test_backoff_is_between_zero_and_its_cap(
    attempt: int, base: float, cap: float, rng: random.Random
) -> None:
    """Uniform in [0, min(cap, base · 2^attempt)] seconds, also after a thousand failures."""
    wait = backoff_s(attempt, settings(backoff_base_s=base, backoff_cap_s=cap), rng)
    assert 0 <= wait <= min(cap, base * 2**attempt)


def test_backoff_grows_and_jitters() -> None:
    """The mean of many waits is half of the bound, which doubles up to the cap."""
    rng = random.Random(1)
    for attempt, bound in [(0, 1), (1, 2), (3, 8), (5, 32), (6, 60), (50, 60)]:
        waits = [backoff_s(attempt, SETTINGS, rng) for _ in range(2_000)]
        assert sum(waits) / len(waits) == pytest.approx(bound / 2, rel=0.1)
        assert max(waits) > 0.95 * bound
        assert min(waits) < 0.05 * bound


@given(st.none() | st.floats(0, 86_400), tries, st.none() | st.floats(0, 86_400), rngs)
def test_rate_limits_wait_as_long_as_they_are_told_and_do_not_count(
    retry_after: float | None, tried: int, limited: float | None, rng: random.Random
) -> None:
    """At least Retry-After; above it only our own back-off, never above the cap; given up by total time."""
    error = RateLimited("429", retry_after_s=retry_after)
    verdict = judge(error, tries=tried, limited_s=limited, settings=SETTINGS, rng=rng)
    assert not verdict.counted
    assert verdict.limited
    assert (retry_after or 0) <= verdict.wait_s <= max(retry_after or 0, SETTINGS.backoff_cap_s)
    assert verdict.excuse == ((limited or 0) + verdict.wait_s > SETTINGS.rate_limit_total_s)


@given(tries, rngs)
def test_an_outage_counts_and_ends_after_max_tries(tried: int, rng: random.Random) -> None:
    """The wait stays below the cap, and the last of `max_tries` failures excuses."""
    verdict = judge(Unavailable("500"), tries=tried, limited_s=None, settings=SETTINGS, rng=rng)
    assert verdict.counted
    assert not verdict.limited
    assert 0 <= verdict.wait_s <= SETTINGS.backoff_cap_s
    assert verdict.excuse == (tried + 1 >= SETTINGS.max_tries)


@given(st.floats(0.1, SETTINGS.rate_limit_total_s), rngs)
def test_an_outage_is_waited_for_as_long_as_it_says(retry_after: float, rng: random.Random) -> None:
    """Retry-After is a minimum, for a 503 as for a 429."""
    verdict = judge(
        Unavailable("503", retry_after_s=retry_after), tries=0, limited_s=None, settings=SETTINGS, rng=rng
    )
    assert retry_after <= verdict.wait_s <= max(retry_after, SETTINGS.backoff_cap_s)
    assert not verdict.excuse


def test_an_outage_of_hours_is_not_waited_for() -> None:
    """A provider that names a longer wait than limits may take is excused at once."""
    error = Unavailable("503", retry_after_s=SETTINGS.rate_limit_total_s + 1)
    verdict = judge(error, tries=0, limited_s=None, settings=SETTINGS, rng=random.Random(1))
    assert (verdict.counted, verdict.excuse) == (True, True)


@given(st.sampled_from([Rejected, Refused, OverLength]), tries, rngs)
def test_what_fails_the_same_way_again_is_excused_at_once(
    kind: type[ModelError], tried: int, rng: random.Random
) -> None:
    """No wait and no further try."""
    verdict = judge(kind("no"), tries=tried, limited_s=None, settings=SETTINGS, rng=rng)
    assert (verdict.counted, verdict.excuse, verdict.wait_s) == (True, True, 0)


@given(st.integers(1, 20), rngs)
def test_a_model_that_is_down_is_asked_max_tries_times(most: int, rng: random.Random) -> None:
    """Counting failures as the owed answer does, exactly `max_tries` calls are made."""
    calls = 0
    while True:
        verdict = judge(
            Unavailable("503"), tries=calls, limited_s=None, settings=settings(max_tries=most), rng=rng
        )
        calls += verdict.counted
        if verdict.excuse:
            break
    assert calls == most


@given(st.floats(0.1, 600), rngs)
def test_a_model_that_always_limits_is_given_up_in_bounded_time(
    retry_after: float, rng: random.Random
) -> None:
    """Waiting as told, the total never passes `rate_limit_total_s`."""
    waited = 0.0
    while True:
        verdict = judge(
            RateLimited("429", retry_after_s=retry_after),
            tries=0,
            limited_s=waited,
            settings=SETTINGS,
            rng=rng,
        )
        if verdict.excuse:
            break
        waited += verdict.wait_s
    assert waited <= SETTINGS.rate_limit_total_s
    assert waited + max(retry_after, SETTINGS.backoff_cap_s) > SETTINGS.rate_limit_total_s
