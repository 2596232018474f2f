"""Measures of a list against gold (algorithms, section 5) and of lists against each other.

A list is a collection of ingredient codes. Gold says what is required (any one of several each), what may be
there besides, and what must not.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from shared.medications import ingredients
from shared.schemas import Gold, GoldItem

DEFINITION = "list-1"
"""The name of this definition of *right*, stored with whatever is learned from it."""


def in_codes(gold: Gold, key: bytes) -> Gold:
    """The same gold in ingredient codes: what a source wrote must not stand outside the sealed table.

    A name that the table does not know becomes a keyed digest, as in the lists it is compared with.
    """

    def codes(names: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(code for name in names for code in ingredients(name, key=key)))

    return Gold(
        required=[GoldItem(any_of=codes(item.any_of)) for item in gold.required],
        acceptable=codes(gold.acceptable),
        never=codes(gold.never),
    )


def right(given: Collection[str], gold: Gold) -> bool:
    """Definition `list-1`: every required item is met and nothing of `never` is given.

    Where nothing is required: only if the list is empty or holds acceptable drugs alone.
    """
    drugs = set(given)
    if drugs & set(gold.never):
        return False
    if not gold.required:
        return drugs <= set(gold.acceptable)
    return all(drugs & set(item.any_of) for item in gold.required)


def precision_recall(given: Collection[str], gold: Gold) -> tuple[float, float]:
    """Precision and recall in [0, 1] against gold: each required item by its best matching alternative.

    Acceptable drugs count neither for nor against. Empty list and nothing required: (1, 1); only one of the
    two empty: (0, 0).
    """
    allowed = {drug for item in gold.required for drug in item.any_of}
    counted = {drug for drug in given if drug in allowed or drug not in gold.acceptable}
    if not counted and not gold.required:
        return 1.0, 1.0
    if not counted or not gold.required:
        return 0.0, 0.0
    met = sum(bool(counted & set(item.any_of)) for item in gold.required)
    return len(counted & allowed) / len(counted), met / len(gold.required)


def f1(given: Collection[str], gold: Gold) -> float:
    """Harmonic mean of precision and recall, in [0, 1]."""
    precision, recall = precision_recall(given, gold)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def jaccard(a: Collection[str], b: Collection[str]) -> float:
    """Share of common drugs, in [0, 1]; two empty lists agree: 1."""
    both, either = set(a) & set(b), set(a) | set(b)
    return len(both) / len(either) if either else 1.0


def agreement(lists: Sequence[Collection[str]]) -> float | None:
    """Mean pairwise Jaccard of the lists, in [0, 1]; None for fewer than two."""
    pairs = [jaccard(a, b) for a, b in itertools.combinations(lists, 2)]
    return sum(pairs) / len(pairs) if pairs else None
