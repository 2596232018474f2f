"""The shared limiter against a real Redis, on the test's own clock: no test waits for time to pass."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from embedded.services import Services
from shared.registry import Limits
from shared.settings import Settings
from tests.workers.limited import NONE, World, limiters, model
from workers.limits import MARGIN, Limiter, connect

WINDOW_S = 60 * (1 + MARGIN)


@pytest.fixture
def make(services: Services) -> Iterator[Callable[..., World]]:
    """Limiters with keys of their own, which are removed."""
    with limiters(services) as build:
        yield build


def test_both_scopes_allow_it_or_nothing_is_taken(make):
    """What the provider's key refuses takes no place at the model, and the other way round."""
    world, oak, elm = make(), model(), model("elm")
    one = Limits(max_in_flight=1)
    first, wait_s = world.go(oak, provider=one)
    assert wait_s == 0
    assert world.go(elm, provider=one)[1] > 0
    assert (world.in_flight("oak"), world.in_flight("elm")) == (1, 0)
    world.limiter.release(oak, first, "answered")
    world.go(elm, own=one, provider=Limits(max_in_flight=2))
    assert world.go(elm, own=one, provider=Limits(max_in_flight=2))[1] > 0
    assert world.go(oak, provider=Limits(max_in_flight=2))[1] == 0, "the refused call had taken a place"


def test_another_key_of_the_provider_has_its_own_limit(make):
    """Limits are the key's: models with another key_env do not share them."""
    world, one = make(), Limits(requests_per_minute=1)
    assert world.go(model(key_env="KEY_A"), provider=one)[1] == 0
    assert world.go(model("elm", key_env="KEY_A"), provider=one)[1] > 0
    assert world.go(model("ash", key_env="KEY_B"), provider=one)[1] == 0


def test_the_place_of_a_dead_call_is_free_when_its_lease_is_over(make):
    """A killed worker's calls free themselves; their late release changes nothing."""
    world, oak, two = make(), model(), Limits(max_in_flight=2)
    dead = world.fill(oak, two, lease_s=30)
    assert len(dead) == 2
    world.now[0] += 29.9
    assert world.go(oak, own=two)[1] > 0
    world.now[0] += 0.2
    assert len(world.fill(oak, two)) == 2
    world.limiter.release(oak, dead[0], "answered")
    assert world.in_flight() == 2


def test_asked_again_for_a_booked_call_it_takes_one_place(make):
    """An answer that was lost on its way costs no second place."""
    world, oak, one = make(), model(), Limits(max_in_flight=1)
    assert [world.go(oak, "same", own=one)[1] for _ in range(3)] == [0, -1, -1]
    assert world.in_flight() == 1


def test_the_wait_of_a_429_holds_all_and_is_never_shortened(make):
    """One call's Retry-After keeps everybody else away, also when another call is told a shorter one."""
    world, oak = make(), model()
    one, other, third = (world.go(oak)[0] for _ in range(3))
    world.limiter.release(oak, one, "limited", retry_after_s=20)
    world.limiter.release(oak, other, "limited", retry_after_s=1)
    world.limiter.release(oak, third, "answered")
    assert world.limiter.snapshot(["oak"])["oak"].waits_s == pytest.approx(20)
    wait_s = world.go(oak)[1]
    assert 20 < wait_s < 22
    world.now[0] += 19.9
    assert world.go(oak)[1] > 0
    world.now[0] += 0.2
    assert world.go(oak)[1] == 0


@examples(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.lists(st.sampled_from([0.0, 0.3, 2.0, 7.0, 20.0, 62.9]), min_size=1, max_size=40),
    most=st.integers(1, 6),
    tokens=st.integers(25, 60),
    outcomes=st.lists(st.sampled_from(["answered", "failed", "limited", "none"]), min_size=40, max_size=40),
    sizes=st.lists(st.integers(0, 25), min_size=40, max_size=40),
)
def test_no_window_holds_more_than_the_rate(make, gaps, most, tokens, outcomes, sizes):
    """Whatever the order of acquires and ends: never more requests or tokens in any window."""
    world, oak = make(in_flight_start=64), model()
    own, provider = Limits(tokens_per_minute=tokens), Limits(requests_per_minute=most)
    sent: list[tuple[float, int]] = []
    for gap, outcome, size in zip(gaps, outcomes, sizes, strict=False):
        world.now[0] += gap
        call, wait_s = world.go(oak, tokens=size, own=own, provider=provider)
        if wait_s > 0:
            continue
        sent.append((world.now[0], size))
        if outcome != "none":
            world.limiter.release(oak, call, outcome, tokens=size)
    for at, _ in sent:
        window = [size for then, size in sent if at - WINDOW_S < then <= at]
        assert len(window) <= most
        assert sum(window) <= tokens


def test_tokens_are_corrected_to_what_was_used(make):
    """An estimate that was too high gives room back, one that was too low takes it; unsent counts nothing."""
    world, oak, own = make(), model(), Limits(tokens_per_minute=1_000)
    first = world.go(oak, tokens=900, own=own)[0]
    assert world.go(oak, tokens=200, own=own)[1] == pytest.approx(WINDOW_S, abs=41)
    world.limiter.release(oak, first, "answered", tokens=100)
    second, wait_s = world.go(oak, tokens=200, own=own)
    assert wait_s == 0
    world.limiter.release(oak, second, "answered", tokens=950)
    assert world.go(oak, tokens=1, own=own)[1] > 0
    world.now[0] += WINDOW_S + 1
    third, wait_s = world.go(oak, tokens=1_000, own=own)
    assert wait_s == 0
    world.limiter.release(oak, third, "unsent")
    alone, wait_s = world.go(oak, tokens=5_000, own=own)
    assert wait_s == 0, "a call above the whole limit goes alone"
    assert world.go(oak, tokens=1, own=own)[1] > 0
    world.limiter.release(oak, alone, "limited")
    assert world.go(oak, tokens=1_000, own=own)[1] == 0


def test_a_call_that_was_held_up_counts_from_when_it_arrived(make):
    """Answers take 2 s; the one that took 5 cannot have arrived before the third second."""
    world, oak, own = make(), model(), Limits(requests_per_minute=2)
    call = world.go(oak, own=own)[0]
    world.now[0] += 2
    world.limiter.release(oak, call, "answered")
    world.now[0] += 100
    call = world.go(oak, own=own)[0]
    world.now[0] += 5
    world.limiter.release(oak, call, "answered")
    assert world.go(oak, own=own)[1] == 0
    world.now[0] += WINDOW_S - 2.1
    assert world.go(oak, own=own)[1] > 0
    world.now[0] += 0.2
    assert world.go(oak, own=own)[1] == 0


def test_turns_are_spread_and_keep_to_the_pace(make):
    """A hundred waiters get a hundred instants, no earlier than a place is free and within bounds."""
    world, oak, own = make(in_flight_start=64), model(), Limits(requests_per_minute=60)
    assert len(world.fill(oak, own)) == 30, "one half as a volley"
    for _ in range(30):
        world.now[0] += 0.55  # a little more than half of the pace
        assert world.go(oak, own=own)[1] == 0, "and the rest one by one"
    waits = sorted(world.go(oak, own=own)[1] for _ in range(100))
    assert all(later - earlier > 0.1 for earlier, later in itertools.pairwise(waits))
    assert min(waits) > WINDOW_S - 30 * 0.55
    assert max(waits) <= WINDOW_S + 60


def test_after_a_flush_the_calls_in_flight_are_booked_again(make):
    """They take their places until their leases end or they are released; what was booked since stays."""
    world, oak, two = make(), model(), Limits(max_in_flight=2, requests_per_minute=3)
    one, other = world.fill(oak, two)
    for key in world.client.scan_iter(f"{world.prefix}*"):
        world.client.delete(key)
    assert world.limiter.snapshot(["oak"])["oak"].in_flight == 0
    world.limiter.rebuild([(oak, one, 30.0), (oak, other, 60.0), (model("elm"), "over", 0.0)])
    world.limiter.rebuild([(oak, one, 90.0)])
    assert (world.in_flight(), world.in_flight("elm")) == (2, 0)
    assert world.go(oak, own=two)[1] > 0
    world.limiter.release(oak, other, "answered")
    assert world.go(oak, own=two)[1] == 0
    world.now[0] += 31
    assert world.in_flight() == 1
    assert world.go(oak, own=two)[1] > 0, "three requests in this minute"


def test_every_key_ends_by_itself(make):
    """A day without a call and nothing of a model is left."""
    world, oak = make(), model()
    every = Limits(10, 10, 10)
    call = world.go(oak, tokens=1, own=every, provider=every)[0]
    world.go(oak, tokens=10, own=every, provider=every)
    world.limiter.release(oak, call, "limited", retry_after_s=5)
    world.limiter.rebuild([(oak, "open", 5.0)])
    keys = list(world.client.scan_iter(f"{world.prefix}*"))
    assert len(keys) == 7
    assert all(0 < world.client.ttl(key) <= 86_400 for key in keys)


def test_while_redis_is_away_calls_go_on(caplog):
    """Nothing raises, one line is logged in a minute, and Redis is left alone for a while."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, but nobody listens
        limiter = Limiter(connect(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"), Settings())
        oak = model()
        with caplog.at_level(logging.ERROR, "consilium.limits"):
            for number in range(50):
                assert limiter.acquire(oak, str(number), tokens=1, lease_s=9, own=NONE, provider=NONE) == 0
                limiter.release(oak, str(number), "limited", retry_after_s=9)
        limiter.rebuild([(oak, "1", 9.0)])
        assert limiter.snapshot(["oak"]) == {}
    assert [record.getMessage() for record in caplog.records] == [
        "limits not kept: redis away type=ConnectionError"
    ]


def test_releases_are_told_when_redis_is_back(make, monkeypatch):
    """A place is not lost for its whole lease because Redis was away when its call ended."""
    world, oak = make(), model()
    call = world.go(oak)[0]
    with monkeypatch.context() as patch:
        patch.setattr(world.limiter, "_ask_again_at", float("inf"))
        world.limiter.release(oak, call, "answered")
        assert world.limiter.snapshot(["oak"]) == {}
    assert world.in_flight() == 1
    world.go(oak)
    assert world.in_flight() == 1


def test_threads_together_stay_within_the_limits(make):
    """Eight threads with clients of their own: never more in flight or in the window than allowed."""
    world, oak, own = make(in_flight_start=64), model(), Limits(max_in_flight=3, requests_per_minute=40)
    lock, running, most, sent = threading.Lock(), 0, 0, 0
    url_pool = world.client.connection_pool

    def work(number: int) -> None:
        nonlocal running, most, sent
        client = redis.Redis(connection_pool=url_pool)
        limiter = Limiter(client, Settings(), prefix=world.prefix, clock=lambda: world.now[0])
        for turn in range(40):
            call = f"{number}-{turn}"
            if limiter.acquire(oak, call, tokens=1, lease_s=60, own=own, provider=NONE) > 0:
                continue
            with lock:
                running += 1
                sent += 1
                most = max(most, running)
            with lock:
                running -= 1
            limiter.release(oak, call, "answered")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 3
    assert sent == 20, "one half of the minute's, while the clock stands still"
    assert world.in_flight() == 0
