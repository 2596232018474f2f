"""The limit that is learned from what a model bears, against a real Redis, on the test's own clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from embedded.services import Services
from shared.registry import Limits
from tests.workers.limited import World, limiters, model


@pytest.fixture
def make(services: Services) -> Iterator[Callable[..., World]]:
    """Limiters with keys of their own, which are removed."""
    with limiters(services) as build:
        yield build


def test_after_a_hold_calls_come_one_by_one(make):
    """The first second after a hold lets in as many as have grown due, not a volley."""
    world, oak = make(in_flight_start=20), model()
    one = world.go(oak)[0]
    world.go(oak)
    other = world.go(oak)[0]
    world.limiter.release(oak, one, "limited", retry_after_s=5)
    world.limiter.release(oak, other, "unsent")
    at = {}
    for _ in range(12):
        at[round(world.now[0] - 1_000_000_000, 1)] = len(world.fill(oak))
        world.now[0] += 0.5
    assert max(at.values()) <= 1
    world = make(in_flight_start=9)
    calls = world.fill(oak)
    world.limiter.release(oak, calls[-1], "limited", retry_after_s=1)
    for call in calls[:-1]:
        world.limiter.release(oak, call, "failed")
    world.now[0] += 1.01
    assert (world.limit(), len(world.fill(oak))) == (4, 1)
    world.now[0] += 0.5
    assert len(world.fill(oak)) == 1
    world.now[0] += 0.5
    assert len(world.fill(oak)) == 2


def test_slow_start_doubles_with_each_round(make):
    """Until the first 429 the limit about doubles with each full round, up to the cap."""
    world, oak = make(in_flight_start=2, in_flight_cap=20), model()
    seen = []
    for _ in range(6):
        calls = world.fill(oak)
        seen.append(len(calls))
        for call in calls:
            world.limiter.release(oak, call, "answered")
    assert all(1.5 * one <= other <= 2 * one + 1 for one, other in itertools.pairwise(seen[:4]))
    assert seen[-1] == 20


def test_a_limit_that_is_not_used_does_not_grow(make):
    """One call at a time proves nothing about many."""
    world, oak = make(in_flight_start=4), model()
    for _ in range(20):
        world.limiter.release(oak, world.go(oak)[0], "answered")
    assert world.limit() == 4


def test_one_episode_cuts_once(make):
    """Ten 429s of calls that began together halve the limit once; one that begins later halves it again."""
    world, oak = make(in_flight_start=16), model()
    calls = world.fill(oak)
    world.now[0] += 1
    for call in calls[6:]:
        world.limiter.release(oak, call, "limited")
    assert world.limit() == 3  # half of the 7 that were in flight
    world.now[0] += 1
    for call in calls[:6]:
        world.limiter.release(oak, call, "failed")
    world.limiter.release(oak, world.fill(oak)[1], "limited")
    assert world.limit() == 1


def test_a_429_of_a_call_that_was_alone_starts_slowly_again(make):
    """It says nothing about how many are too many: the limit is 1 and doubles."""
    world, oak = make(in_flight_start=8), model()
    for _ in range(3):
        world.limiter.release(oak, world.go(oak)[0], "limited")
    assert world.limit() == 1
    world.now[0] += 1
    _, refused = world.saturate(oak, 100, 5)
    assert refused == 0
    assert world.limit() == 64


@pytest.mark.parametrize("cap", [1, 5])
def test_the_limit_stays_between_one_and_the_cap(make, cap):
    """However many answers or refusals there are; a cap that is lowered holds at once."""
    world, oak = make(), model()
    own = Limits(max_in_flight=cap)
    world.saturate(oak, 100, 3, own)
    assert world.limit() == cap
    for _ in range(5):
        world.now[0] += 5
        world.limiter.release(oak, world.fill(oak, own)[0], "limited")
        for call in world.client.zrange(f"{world.prefix}model:oak:calls", 0, -1):
            world.limiter.release(oak, call.decode(), "failed")
        assert 1 <= world.limit() <= cap
    world.now[0] += 5
    world.saturate(oak, 100, 20)
    assert world.limit() > cap
    assert len(world.fill(oak, own)) == cap


def test_the_limit_follows_what_the_server_bears_with_few_429s(make):
    """20, then 5, then 20 at once: near each in the time that the rule says, and below 1 % are refused."""
    world, oak = make(in_flight_start=8), model()
    counts = [world.saturate(oak, 20, 40)]
    assert world.limit() in (20, 21)
    counts.append(world.saturate(oak, 5, 40))
    assert world.limit() in (5, 6)
    counts.append(world.saturate(oak, 20, 90))
    assert world.limit() in (20, 21)
    answers, refused = (sum(column) for column in zip(*counts, strict=True))
    assert answers > 3_000
    assert refused / (answers + refused) < 0.01
    assert answers / ((20 * 130 + 5 * 40) / 0.595) > 0.7, "of what the server could have answered"


def test_one_call_alone_tries_a_limit_that_has_risen(make):
    """Until it is answered nobody else does; if it ends without an answer, the next one may."""
    world, oak = make(in_flight_start=8), model()
    world.limiter.release(oak, world.fill(oak)[-1], "limited")
    for call in world.client.zrange(f"{world.prefix}model:oak:calls", 0, -1):
        world.limiter.release(oak, call.decode(), "failed")
    calls = world.fill(oak)
    assert len(calls) == 4
    for _ in range(3):
        world.limiter.release(oak, calls.pop(), "answered")
        calls += world.fill(oak)
    assert (world.limit(), len(calls)) == (5, 5)
    world.limiter.release(oak, calls.pop(0), "answered")
    assert world.go(oak)[1] > 0
    world.limiter.release(oak, calls.pop(), "failed")
    assert len(world.fill(oak)) == 2


def test_the_ceiling_is_tried_rarely(make):
    """Minutes at a server that bears 5: its ceiling is tried again, but not more than the rule allows."""
    world, oak = make(in_flight_start=8), model()
    world.saturate(oak, 5, 60)
    answers, refused = world.saturate(oak, 5, 240)
    assert 8 <= refused <= 13
    assert answers / (5 / 0.595 * 240) > 0.9
