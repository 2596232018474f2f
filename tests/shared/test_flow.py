"""What a consultation needs next: from whatever is stored, it ends, and nothing settled is asked again."""

from __future__ import annotations

import uuid
from dataclasses import replace
from random import Random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.flow import Ask, Conclude, Fail, Owed, OwedState, OweReviews, next_step, quorum

STATES: tuple[OwedState, ...] = ("owed", "answered", "excused", "void")
ENDS: tuple[OwedState, ...] = ("answered", "excused")


def owed(
    kind: Literal["generation", "review"], seat: int, state: OwedState = "owed", *, ready: bool = True
) -> Owed:
    """One owed answer."""
    return settled(Owed(uuid.uuid4(), kind, seat, "owed", "remote", ready=ready), state)


def settled(row: Owed, state: OwedState) -> Owed:
    """The same owed answer in another state."""
    return replace(row, state=state, answer_id=uuid.uuid4() if state == "answered" else None)


@st.composite
def stored(draw: st.DrawFn) -> tuple[int, list[Owed]]:
    """Any state that can lie in the database: seats in any state, some or no reviews in any state."""
    n = draw(st.integers(2, 12))
    state = st.sampled_from(STATES)
    rows = [owed("generation", seat, draw(state), ready=draw(st.booleans())) for seat in range(n)]
    for _ in range(draw(st.integers(0, 20))):
        rows.append(owed("review", draw(st.integers(0, n - 1)), draw(state), ready=draw(st.booleans())))
    return n, rows


@given(stored(), st.data())
def test_every_state_ends(state: tuple[int, list[Owed]], data: st.DataObject) -> None:
    """Whatever settles in whatever order, the flow comes to an end in as many steps as there are answers."""
    n, rows = state
    for _ in range(n + n * (n - 1) + len(rows) + 3):
        match next_step(n, rows):
            case Conclude() | Fail():
                return
            case OweReviews(generations):
                assert not [row for row in rows if row.kind == "review"], "reviews are fixed once"
                rows += [owed("review", u) for u in generations for i in generations if u != i]
            case Ask(kind, asked):
                waiting = [row for row in rows if row.kind == kind and row.state == "owed"]
                assert waiting, "it asks only while something of that kind is owed"
                assert set(asked) == {row for row in waiting if row.ready}
                # at least one that was asked, or whose time has come, is settled
                done = data.draw(st.sets(st.sampled_from(asked or waiting), min_size=1))
                rows = [
                    settled(row, data.draw(st.sampled_from(ENDS))) if row in done else row for row in rows
                ]
    pytest.fail("it did not end")


@given(stored())
def test_what_is_settled_is_never_asked_for(state: tuple[int, list[Owed]]) -> None:
    """Only what is owed and ready is sent, and no review before every seat is settled."""
    n, rows = state
    step = next_step(n, rows)
    if isinstance(step, Ask):
        assert all(row.state == "owed" and row.ready and row.kind == step.kind for row in step.owed)
    open_seats = [row for row in rows if row.kind == "generation" and row.state == "owed"]
    assert isinstance(step, Ask) == bool(
        open_seats or (not isinstance(step, Fail) and [row for row in rows if row.state == "owed"])
    )
    if open_seats:
        assert isinstance(step, Ask)
        assert step.kind == "generation"


@given(stored(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(state: tuple[int, list[Owed]], random: Random) -> None:
    """The same rows in another order give the same step."""
    n, rows = state
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, other = next_step(n, rows), next_step(n, shuffled)
    if isinstance(one, Ask) and isinstance(other, Ask):
        assert (one.kind, set(one.owed)) == (other.kind, set(other.owed))
    else:
        assert one == other


@pytest.mark.parametrize(("n", "least"), [(2, 2), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4), (12, 6)])
def test_quorum(n: int, least: int) -> None:
    """max(2, ⌈n / 2⌉): one answer below it fails, at it the reviews follow among those who answered."""
    assert quorum(n) == least
    excused = [owed("generation", seat, "excused") for seat in range(least, n)]
    enough = [owed("generation", seat, "answered") for seat in range(least)]
    assert next_step(n, enough[1:] + excused + [owed("generation", 0, "excused")]) == Fail("no_quorum")
    step = next_step(n, enough + excused)
    assert step == OweReviews({row.seat: row.answer_id for row in enough if row.answer_id is not None})
    assert len(step.generations) == least


def test_the_whole_way() -> None:
    """Owed seats are asked, then reviews are fixed, then asked, and at last it concludes."""
    first = [owed("generation", seat) for seat in range(3)]
    assert next_step(3, first) == Ask("generation", tuple(first))
    seats = [owed("generation", seat, "answered") for seat in range(3)]
    assert isinstance(next_step(3, seats), OweReviews)
    reviews = [owed("review", 0, "answered"), owed("review", 1), owed("review", 2, ready=False)]
    assert next_step(3, seats + reviews) == Ask("review", (reviews[1],))
    done = [owed("review", 0, "answered"), owed("review", 1, "excused"), owed("review", 2, "answered")]
    assert next_step(3, seats + done) == Conclude()


def test_nothing_is_sent_while_all_waits() -> None:
    """Where everything owed lies in the database until later, the step is an empty request."""
    rows = [owed("generation", 0, "answered"), owed("generation", 1, ready=False)]
    assert next_step(2, rows) == Ask("generation", ())


def test_void_reviews_are_not_fixed_again() -> None:
    """Reviews that no longer matter are settled: fixing the same ones again would never end."""
    seats = [owed("generation", seat, "answered") for seat in range(2)]
    voided = [owed("review", seat, "void") for seat in range(2)]
    assert next_step(2, seats + voided) == Conclude()
