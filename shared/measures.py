"""Measures of a list against gold (algorithms, section 5) and of lists against each other.

A list is a collection of ingredient codes. Gold says what is required (any one of several each), what may be
there besides, and what must not.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from shared.errors import RecordError
from shared.medications import ingredients
from shared.schemas import Gold, GoldItem

DEFINITION = "list-1"
"""The name of this definition of *right*, stored with whatever is learned from it."""
MOST_ITEMS = 64
"""Items that one required item may become where its alternatives are combinations: six of two ingredients."""


def in_codes(gold: Gold, key: bytes) -> Gold:
    """The same gold in ingredient codes: what a source wrote must not stand outside the sealed table.

    A name that the table does not know becomes a keyed digest, as in the lists it is compared with. A
    combination that is required is met by all of its ingredients together, so an item that holds one becomes
    several; one that is acceptable or never stands for each of its ingredients. Raises `RecordError` where
    no list could be right, or an item became more than `MOST_ITEMS`.
    """

    def codes(names: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(code for name in names for code in ingredients(name, key=key)))

    never = codes(gold.never)
    required = []
    for place, item in enumerate(gold.required):
        for any_of in _items([ingredients(name, key=key) for name in item.any_of], f"gold.required.{place}"):
            if set(any_of) <= set(never):
                raise RecordError(
                    "never_right",
                    "no list could be right, as never holds an ingredient of each alternative: mend that",
                    path=f"gold.required.{place}",
                )
            required.append(GoldItem(any_of=any_of))
    return Gold(required=required, acceptable=codes(gold.acceptable), never=never)


def _items(alternatives: Sequence[Sequence[str]], path: str) -> list[list[str]]:
    """One of the alternatives, all of its ingredients → one code out of each of these, none of them in vain.

    An OR of ANDs made an AND of ORs: whoever has one code of each way to pick one from every alternative has
    some alternative whole. A way that holds another way whole asks for nothing more and is left out.
    """
    alone = {codes[0] for codes in alternatives if len(codes) == 1}
    ways: set[frozenset[str]] = {frozenset()}
    for codes in dict.fromkeys(tuple(c) for c in alternatives if alone.isdisjoint(c)):
        already = {way for way in ways if not way.isdisjoint(codes)}
        wider = {way | {code} for way in ways - already for code in codes}
        ways = already | {way for way in wider if not any(other <= way for other in already)}
        if len(ways) > MOST_ITEMS:
            raise RecordError(
                "too_many_combinations",
                f"its combinations come to more than {MOST_ITEMS} things required: name fewer of them",
                path=path,
            )
    written = dict.fromkeys(code for codes in alternatives for code in codes)
    return sorted([code for code in written if code in alone or code in way] for way in ways)


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
