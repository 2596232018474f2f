"""How well scores rank outcomes: the area under the ROC curve, ties counted half, and the same within groups.

Over the pairs of cases whose outcomes differ: the share in which the higher score has the higher outcome
(Mann & Whitney, Annals of Mathematical Statistics 18, 1947). With outcomes 0 and 1 that is the AUC; with any
other numbers it is the concordance, which has the same scale: 0.5 is chance, 1 a perfect order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from itertools import groupby


def auc(scores: Sequence[float], outcomes: Sequence[float]) -> float | None:
    """AUC or concordance in [0, 1]; None where all outcomes are the same. O(n log n) comparisons."""
    ranked = sorted(zip(map(float, outcomes), map(float, scores), strict=True))
    below: list[float] = []  # scores of lower outcomes, sorted
    won, pairs = 0.0, 0
    for _, tied in groupby(ranked, key=lambda case: case[0]):
        group = [score for _, score in tied]
        for score in group:
            won += (bisect_left(below, score) + bisect_right(below, score)) / 2
        pairs += len(below) * len(group)
        for score in group:
            insort(below, score)
    return won / pairs if pairs else None


def auc_within(
    scores: Sequence[float], outcomes: Sequence[float], groups: Sequence[int], *, least: int = 10
) -> dict[int, float]:
    """The AUC inside each group, so that groups that are easy or hard as a whole do not count.

    Only groups with at least `least` cases of each outcome; where outcomes are no 0 and 1, on each side of
    the group's median.
    """
    members: dict[int, list[tuple[float, float]]] = {}
    for score, outcome, group in zip(scores, outcomes, groups, strict=True):
        members.setdefault(group, []).append((float(score), float(outcome)))
    found = {}
    for group, cases in members.items():
        ys = sorted(y for _, y in cases)
        centre = 0.5 if set(ys) <= {0.0, 1.0} else ys[len(ys) // 2]
        high = sum(y >= centre for y in ys)
        figure = (
            auc([s for s, _ in cases], [y for _, y in cases]) if min(high, len(ys) - high) >= least else None
        )
        if figure is not None:
            found[group] = figure
    return found
