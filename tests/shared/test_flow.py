"""What a consultation needs next: from whatever is stored, it ends, and nothing settled is asked again."""

from __future__ import annotations

import math
import uuid
from dataclasses import replace
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.flow import (
    Ask,
    Bench,
    Conclude,
    Excuse,
    Fail,
    Owed,
    OwedState,
    OweReviews,
    Replace,
    next_step,
    quorum,
)

STATES: tuple[OwedState, ...] = ("owed", "answered", "excused", "void")
ENDS: tuple[OwedState, ...] = ("answered", "excused")


def owed(
    kind: Literal["generation", "review"],
    seat: int,
    state: OwedState = "owed",
    *,
    ready: bool = True,
    **more: Any,
) -> Owed:
    """One owed answer; the model of seat k is called mk."""
    given = {"model": f"m{seat}", **more}
    return settled(Owed(uuid.uuid4(), kind, seat, "owed", "remote", ready=ready, **given), state)


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


URGENT = Bench(away=frozenset({"m0"}), substitutes=("x", "y"), patience_s=0, most=2)
PATIENT = replace(URGENT, patience_s=300)


@st.composite
def benches(draw: st.DrawFn) -> Bench:
    """Any models away, any substitutes, any patience."""
    names = [f"m{k}" for k in range(12)]
    return Bench(
        away=draw(st.frozensets(st.sampled_from([*names, "x1", "x2"]))),
        substitutes=tuple(draw(st.lists(st.sampled_from(["s1", "s2", "s3"]), unique=True))),
        doubtful=tuple(draw(st.lists(st.sampled_from(["x1", "x2"]), unique=True))),
        patience_s=draw(st.sampled_from([0.0, 300.0, math.inf])),
        most=draw(st.integers(0, 3)),
    )


@given(st.integers(2, 12), benches(), st.data())
def test_with_any_models_away_it_ends_once_they_are_back(n: int, bench: Bench, data: st.DataObject) -> None:
    """Seats are lost, replaced, excused in any way: each step moves on, and with everybody back it ends."""
    rows = [owed("generation", seat, data.draw(st.sampled_from(STATES[:3]))) for seat in range(n)]
    for step_number in range(8 * n + n * n + 20):
        if step_number == 4 * n:
            bench = replace(bench, away=frozenset(), doubtful=())
        match next_step(n, rows, bench):
            case Conclude():
                return
            case Fail(reason):
                answered = [row for row in rows if row.kind == "generation" and row.state == "answered"]
                assert reason == "no_quorum"
                assert len(answered) < quorum(n)
                return
            case Replace(seats):
                assert seats
                taken = [name for _, name in seats]
                assert len(set(taken)) == len(taken)
                for old, name in seats:
                    assert old.occupancy <= bench.most
                    rows[rows.index(old)] = replace(old, state="void", answer_id=None)
                    new = owed("generation", old.seat, model=name, occupancy=old.occupancy + 1)
                    rows.append(new)
                left = [name for name in (*bench.substitutes, *bench.doubtful) if name not in taken]
                bench = replace(
                    bench,
                    substitutes=tuple(name for name in left if name in bench.substitutes),
                    doubtful=tuple(name for name in left if name in bench.doubtful),
                )
            case Excuse(gone):
                assert gone
                rows = [replace(row, state="excused", reason="away") if row in gone else row for row in rows]
            case OweReviews(generations):
                rows += [
                    owed("review", u, about=generations[i])
                    for u in generations
                    for i in generations
                    if u != i
                ]
            case Ask(_, asked):
                here = [row for row in asked if row.model not in bench.away]
                done = data.draw(st.sets(st.sampled_from(here), min_size=1)) if here else set()
                rows = [
                    settled(row, data.draw(st.sampled_from(ENDS))) if row in done else row for row in rows
                ]
    pytest.fail("it did not end")


def test_an_excused_seat_goes_to_the_next_model() -> None:
    """The first substitute takes it; after as many as are allowed the others go on with the quorum."""
    lost = owed("generation", 1, "excused")
    rows = [owed("generation", 0, "answered"), lost, owed("generation", 2, "answered")]
    assert next_step(3, rows, URGENT) == Replace(((lost, "x"),))
    spent = replace(lost, occupancy=3)
    assert isinstance(next_step(3, [rows[0], spent, rows[2]], URGENT), OweReviews)


def test_a_model_that_is_away_is_waited_for_unless_it_is_urgent() -> None:
    """Patience decides; while somebody works on the answer it is not lost."""
    fresh, old = owed("generation", 0, away_s=10.0), owed("generation", 0, away_s=301.0)
    rest = [owed("generation", seat, "answered") for seat in (1, 2)]
    assert next_step(3, [fresh, *rest], URGENT) == Replace(((fresh, "x"),))
    assert next_step(3, [fresh, *rest], PATIENT) == Ask("generation", (fresh,))
    assert next_step(3, [old, *rest], PATIENT) == Replace(((old, "x"),))
    working = replace(old, busy=True)
    assert next_step(3, [working, *rest], PATIENT) == Ask("generation", (working,))


def test_without_substitute_the_quorum_goes_on_or_it_is_held() -> None:
    """Enough others: the seat is excused. Too few: held, never failed, for the models may come back."""
    nobody = replace(PATIENT, substitutes=(), away=frozenset({"m0", "m1"}))
    away = [owed("generation", seat, away_s=900.0, ready=False) for seat in (0, 1)]
    here = [owed("generation", seat, "answered") for seat in (1, 2)]
    assert next_step(3, [away[0], *here], nobody) == Excuse((away[0],))
    assert next_step(3, [*away, here[1]], nobody) == Ask("generation", (), held="no models")


def test_with_all_seats_lost_a_doubtful_model_is_tried() -> None:
    """Nobody would find out that the models are back if nobody were asked."""
    lost = [owed("generation", seat, "excused") for seat in range(3)]
    bench = Bench(doubtful=("x",), most=1)
    assert next_step(3, lost, bench) == Replace(((lost[0], "x"),))
    assert next_step(3, lost, Bench(most=1)) == Fail("no_quorum")


def test_reviews_of_a_model_that_stays_away_are_excused_where_another_review_comes() -> None:
    """An answer that would be left without any review holds the consultation instead."""
    seats = [owed("generation", seat, "answered") for seat in range(3)]
    a, b, c = (row.answer_id for row in seats)
    gone = [owed("review", 0, about=b, away_s=900.0), owed("review", 0, about=c, away_s=900.0)]
    others = [owed("review", 1, "answered", about=c), owed("review", 2, "answered", about=b)]
    assert next_step(3, seats + gone + others, PATIENT) == Excuse(tuple(gone))
    alone = [owed("review", 0, about=b, away_s=900.0, ready=False), owed("review", 1, "answered", about=a)]
    assert next_step(3, seats + alone, PATIENT) == Ask("review", (), held="no models")


def test_an_ensemble_of_one_has_nobody_to_review() -> None:
    """A single answer is concluded as it is; without it there is no quorum."""
    assert next_step(1, [owed("generation", 0, "answered")]) == Conclude()
    assert next_step(1, [owed("generation", 0, "excused")]) == Fail("no_quorum")
