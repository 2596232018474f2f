"""Who reviews whom, in which order, under which label and behind which fence: all from one recorded seed.

Order and labels are drawn anew for each reviewer, and independently of each other, so that an effect of the
position or of the label can be told apart from an effect of the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.seeding import digest, shuffled

ALL_PAIRS_UP_TO = 5
"""Up to so many seats everybody reviews everybody else."""


@dataclass(frozen=True, order=True)
class ReviewSlot:
    """One review: seats of reviewer and item; shown position 1, 2, …; label A, B, …; fence of 16 hex."""

    reviewer: int
    position: int
    item: int
    label: str
    fence: str


def pairs(seats: Sequence[int], k: int, seed: int) -> list[tuple[int, int]]:
    """All (reviewer, item), sorted: every pair of two different seats up to N = 5.

    Above, `k` (at most N − 1) reviews for each answer and by each reviewer: the seats stand in a circle in a
    drawn order, and everybody reviews those at the same k drawn distances. Never one's own answer. Raises
    `ValueError` for repeated seats or k < 1.
    """
    if len(set(seats)) != len(seats) or k < 1:
        raise ValueError("seats must differ and reviews per answer be at least 1")
    n = len(seats)
    circle = shuffled(seats, seed, "review-circle")
    distances = shuffled(range(1, n), seed, "review-distances")
    if n > ALL_PAIRS_UP_TO:
        distances = distances[:k]
    return sorted((circle[at], circle[(at + distance) % n]) for at in range(n) for distance in distances)


def design(seats: Sequence[int], k: int, seed: int) -> list[ReviewSlot]:
    """The slots of `pairs`, by reviewer and position; the same seats, k and seed give the same design."""
    items: dict[int, list[int]] = {seat: [] for seat in seats}
    for reviewer, item in pairs(seats, k, seed):
        items[reviewer].append(item)
    return sorted(slot for reviewer in seats for slot in slots(reviewer, items[reviewer], seed))


def slots(reviewer: int, items: Iterable[int], seed: int) -> list[ReviewSlot]:
    """One reviewer's slots for the answers it is to review, by position."""
    theirs = list(items)
    labels = {
        item: chr(ord("A") + at) for at, item in enumerate(shuffled(theirs, seed, "review-labels", reviewer))
    }
    return [
        ReviewSlot(reviewer, position, item, labels[item], digest(seed, "review-fence", reviewer, item)[:16])
        for position, item in enumerate(shuffled(theirs, seed, "review-order", reviewer), start=1)
    ]
