"""The panel's capacity: what it refuses, when, and what its ledger says of it."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panel.capacity import Capacity, LimitError, Limits, Sliding
from panel.models import MODELS
from tests.panel.world import generate_body, rendered, vignettes

ONE, OTHER = list(MODELS)[:2]


@given(st.lists(st.integers(0, 8), max_size=60))
def test_a_window_counts_as_a_list_would(gaps):
    """The sliding count and its peak are those of a plain count over all windows."""
    window, times, now = Sliding(10), [], 0
    for gap in gaps:
        now += gap
        times.append(now)
        window.add(now)
        assert window.count(now) == sum(now - 10 < t for t in times)
    assert window.peak == max((sum(at - 10 < t <= at for t in times) for at in times), default=0)


def test_a_rate_holds_for_all_and_for_one_model():
    """Whichever limit is reached first refuses; what is refused does not count to the rate."""
    capacity = Capacity()
    capacity.set(Limits.read({"requests_per_minute": 3, "models": {ONE: {"requests_per_minute": 1}}}))

    def refused(model: str, now: float) -> str | None:
        with capacity.place(model, now) as reason:
            return reason

    assert refused(ONE, 0) is None
    assert refused(ONE, 1) == "requests_per_minute"
    assert [refused(OTHER, 2), refused(OTHER, 3), refused(OTHER, 4)] == [None, None, "requests_per_minute"]
    assert refused(OTHER, 59.9) == "requests_per_minute"
    assert refused(ONE, 60) is None
    told = capacity.as_json()
    assert told == {
        "limited": {"requests_per_minute": 3},
        "peak_window": 6,
        "peak_window_models": {ONE: 2, OTHER: 4},
    }


def test_a_place_is_free_when_its_call_ends():
    """Calls at once are counted from arrival to end, also over a change of the limits."""
    capacity = Capacity()
    with capacity.place(ONE, 0) as first:
        capacity.set(Limits.read({"concurrent": 1}))
        with capacity.place(OTHER, 1) as second:
            pass
    with capacity.place(OTHER, 2) as third:
        pass
    assert (first, second, third) == (None, "concurrent", None)


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (3, "table"),
        ({"requests": 3}, "requests"),
        ({"concurrent": -1}, "concurrent"),
        ({"concurrent": 1.5}, "concurrent"),
        ({"window_s": 0}, "window_s"),
        ({"retry_after_s": 0.5}, "retry_after_s"),
        ({"models": {"gpt": {}}}, "gpt"),
        ({"models": {ONE: {"window_s": 3}}}, "window_s"),
    ],
)
def test_a_wrong_table_names_its_key(table, word):
    """What cannot be meant is refused."""
    with pytest.raises(LimitError, match=word):
        Limits.read(table)


def test_beyond_its_capacity_the_panel_answers_429(panel):
    """Over HTTP: the second of two calls at once is refused with the wait, and the ledger says so."""
    server = panel("--delay", "600")
    table = {"concurrent": 1, "retry_after_s": 7}
    assert server.client.post("/control/limits", json={"window": 6}).status_code == 400
    server.client.post("/control/limits", json=table).raise_for_status()
    assert server.client.get("/control/limits").json()["concurrent"] == 1
    body = generate_body(ONE, rendered(vignettes()[0]))

    async def scenario() -> httpx.Response:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            first = asyncio.ensure_future(client.post("/v1/chat/completions", json=body))
            while (await client.get("/ledger")).json()["open"] == 0:
                pass
            second = await client.post("/v1/chat/completions", json=body)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            return second

    second = asyncio.run(scenario())
    assert (second.status_code, second.headers["Retry-After"]) == (429, "7")
    ledger = server.ledger()
    assert (ledger["limited"], ledger["peak_window"], ledger["faults"]) == ({"concurrent": 1}, 2, {})


def test_all_can_be_taken_away_at_run_time(panel):
    """What fault scenarios need: all models, or some, answer 503 or 429 until told otherwise."""
    server = panel()
    bodies = [generate_body(name, rendered(vignettes()[0])) for name in (ONE, OTHER)]
    server.faults({"unavailable": 1.0})
    assert [server.ask(body).status_code for body in bodies] == [503, 503]
    server.faults({"models": {ONE: {"429": 1.0}}})
    assert [server.ask(body).status_code for body in bodies] == [429, 200]
    server.faults({"429": 1.0})
    answers = [server.ask(body) for body in bodies]
    assert [(a.status_code, bool(a.headers["Retry-After"])) for a in answers] == [(429, True)] * 2
