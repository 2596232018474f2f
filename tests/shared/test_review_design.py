"""Who reviews whom, and under which label, position and fence."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.review_design import design, pairs, slots

ensembles = st.lists(st.integers(0, 99), min_size=2, max_size=12, unique=True)
seeds = st.integers(-(2**63), 2**63 - 1)


@given(ensembles, st.integers(1, 12), seeds)
def test_balance(seats: list[int], k: int, seed: int) -> None:
    """Every answer gets and every reviewer gives the same number of reviews, none of them one's own."""
    slots = design(seats, k, seed)
    expected = len(seats) - 1 if len(seats) <= 5 else min(k, len(seats) - 1)
    assert Counter(slot.reviewer for slot in slots) == dict.fromkeys(seats, expected)
    assert Counter(slot.item for slot in slots) == dict.fromkeys(seats, expected)
    assert all(slot.reviewer != slot.item for slot in slots)
    assert len({(slot.reviewer, slot.item) for slot in slots}) == len(slots)
    assert pairs(seats, k, seed) == sorted((slot.reviewer, slot.item) for slot in slots)


@given(ensembles, st.integers(1, 6), seeds)
def test_labels_positions_fences(seats: list[int], k: int, seed: int) -> None:
    """Each reviewer sees labels A, B, … and positions 1, 2, … once each; no fence is used twice."""
    slots = design(seats, k, seed)
    for reviewer in seats:
        own = [slot for slot in slots if slot.reviewer == reviewer]
        assert sorted(slot.label for slot in own) == [chr(ord("A") + i) for i in range(len(own))]
        assert [slot.position for slot in own] == list(range(1, len(own) + 1))
    assert len({slot.fence for slot in slots}) == len(slots)
    assert all(re.fullmatch(r"[0-9a-f]{16}", slot.fence) for slot in slots)


@given(ensembles, st.integers(1, 6), seeds)
def test_slots_of_one_reviewer(seats: list[int], k: int, seed: int) -> None:
    """A reviewer's slots can be drawn alone: they depend on its own items only, in whatever order."""
    drawn = design(seats, k, seed)
    for reviewer in seats:
        own = [slot for slot in drawn if slot.reviewer == reviewer]
        assert sorted(slots(reviewer, sorted(slot.item for slot in own), seed)) == own


@given(ensembles, st.integers(1, 6), seeds)
def test_deterministic(seats: list[int], k: int, seed: int) -> None:
    """The same seats and seed give the same design, in whatever order the seats are given."""
    shuffled = sorted(seats, key=lambda seat: (seat * 7919) % 101)
    assert design(shuffled, k, seed) == design(seats, k, seed)


def test_known_design() -> None:
    """The design of a stored seed stays what it was, or replaying a stored consultation would differ."""
    first = design([1, 2, 3], 4, 42)[0]
    assert (first.reviewer, first.item, first.label, first.position, first.fence) == (
        1,
        3,
        "B",
        1,
        "5a76e5cfdb13f8d4",
    )


def test_order_and_labels_are_drawn_per_reviewer() -> None:
    """Over seeds each item stands at each position and under each label equally often, and independently."""
    seen: Counter[tuple[int, str]] = Counter()
    same_for_both = 0
    for seed in range(3000):
        slots = {(s.reviewer, s.item): s for s in design([1, 2, 3], 4, seed)}
        seen[slots[1, 3].position, slots[1, 3].label] += 1
        same_for_both += slots[1, 3].position == slots[2, 3].position
    assert all(abs(seen[position, label] - 750) < 120 for position in (1, 2) for label in "AB")  # 5 sd
    assert abs(same_for_both - 1500) < 140


def test_all_reviewers_are_met_above_five() -> None:
    """Over seeds every other seat reviews an answer equally often."""
    reviewers = Counter(r for seed in range(2000) for r, item in pairs(range(7), 4, seed) if item == 0)
    assert all(abs(reviewers[seat] - 2000 * 4 / 6) < 110 for seat in range(1, 7))


@pytest.mark.parametrize(("seats", "k"), [([1, 1, 2], 4), ([1, 2, 3], 0)])
def test_bad_input(seats: list[int], k: int) -> None:
    """A seat given twice, or no reviews at all, is an error."""
    with pytest.raises(ValueError, match="seats must differ"):
        design(seats, k, 1)
