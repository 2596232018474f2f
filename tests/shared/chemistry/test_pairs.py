"""Cost-based chemistry: golden tables, and equality with an exact search through every context."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.chemistry import pairs
from shared.chemistry.cost import Rated, cost, penalty
from shared.chemistry.default import shrunk_means, strongest_default
from shared.chemistry.pairs import TOLERANCE, strongest
from shared.chemistry.snapshot import ModelLearned

DECADES = st.floats(-11, 0).map(lambda e: 10.0**e)
QUALITY = st.sampled_from([10.0, 10.0, 9.0, 5.0, 0.0]) | DECADES.map(lambda d: 10 * (1 - d))
ACCURACY = st.sampled_from([1.0, 0.8, 0.5, 0.2]) | DECADES.map(lambda d: 1 - d / 2)
MODELS = st.lists(st.tuples(QUALITY, ACCURACY), min_size=2, max_size=9).map(
    lambda numbers: [Rated(f"m{i}", *both) for i, both in enumerate(numbers)]
)


def every_context(
    models: list[Rated], usage: float, *, empty_context: bool
) -> dict[tuple[str, str], dict[tuple[str, ...], Fraction]]:
    """Of each pair the signed ratio in each context that counts, by the definition, in exact numbers."""
    ranking = sorted((m for m in models if m.accuracy > usage), key=lambda m: (-m.quality, m.name))
    exact = {m.name: Fraction(penalty(m)) for m in models}
    costs: dict[frozenset[str], Fraction] = {}
    for size in range(len(models) + 1):
        for chosen in combinations([m.name for m in models], size):
            used = [m.name for m in ranking if m.name in chosen]
            nobody = Fraction(1 if empty_context else 0)
            costs[frozenset(chosen)] = (
                sum((exact[name] / rank for rank, name in enumerate(used, 1)), Fraction(0))
                if used
                else nobody
            )
    found: dict[tuple[str, str], dict[tuple[str, ...], Fraction]] = {}
    for a, b in combinations(sorted(exact), 2):
        for x, alone in costs.items():
            if a in x or b in x:
                continue
            with_a, with_b, both = costs[x | {a}], costs[x | {b}], costs[x | {a, b}]
            if alone and with_a and with_b and both:
                ratio = (both - with_a - with_b + alone) / both
                found.setdefault((a, b), {})[tuple(sorted(x))] = ratio
    return found


@settings(max_examples=60, deadline=None)
@given(models=MODELS, usage=st.sampled_from([0.0, 0.3, 0.5, 0.7]), empty_context=st.booleans())
def test_equals_a_search_through_every_context(
    models: list[Rated], usage: float, empty_context: bool
) -> None:
    """Value, presence and sign are those of the definition, and no smaller context reaches the value."""
    found = strongest(models, usage=usage, empty_context=empty_context)
    plain = every_context(models, usage, empty_context=empty_context)
    assert found.keys() == plain.keys()
    for pair, one in found.items():
        best = max(abs(ratio) for ratio in plain[pair].values())
        assert one.value == pytest.approx(float(min(best, 1)), abs=3 * TOLERANCE)
        there = plain[pair][one.context]
        assert one.sign * one.value == pytest.approx(float(max(-1, min(1, there))), abs=2 * TOLERANCE)
        reaching = (
            x for x, ratio in plain[pair].items() if min(abs(ratio), 1) >= min(best, 1) - TOLERANCE / 2
        )
        assert len(one.context) <= min(map(len, reaching))


def test_every_golden_pair(golden: list[dict]) -> None:
    """All published tables to 1e-9; pairs that are absent there are absent here."""
    for case in golden:
        models = [Rated(name, numbers[0], max(numbers[1], 0.1)) for name, numbers in case["models"].items()]
        found = strongest(models, usage=case["usage"], empty_context=True)
        assert [list(pair) for pair in found] == [[a, b] for a, b, _ in case["pairs"]], case["name"]
        for a, b, value in case["pairs"]:
            assert found[a, b].value == pytest.approx(value, abs=1e-9), (case["name"], a, b)


def test_twenty_decades_do_not_hide_each_other() -> None:
    """A context of tiny penalties is found beside one of large ones that reaches less."""
    models = [
        Rated("large", 5.0, 0.6),
        Rated("a", 9.0, 1 - 1e-15),
        Rated("b", 8.9, 1 - 1e-15),
        Rated("tiny", 8.8, 1 - 4e-16),
        Rated("other", 7.0, 0.7),
    ]
    plain = every_context(models, 0.5, empty_context=False)
    for pair, one in strongest(models, empty_context=False).items():
        assert one.value == pytest.approx(float(max(map(abs, plain[pair].values()))), abs=3 * TOLERANCE)


def test_equal_contexts_go_by_size_and_rank() -> None:
    """Of contexts that reach the same the smallest, with models ranked first, whatever the order given."""
    models = [Rated(name, 5.0, 0.8) for name in "abcd"] + [Rated("zero", 10.0, 1.0)]
    found = strongest(models, empty_context=False)
    assert found["c", "d"].context == ("a",)
    assert found == strongest(models[::-1], empty_context=False)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs that are searched seven at a time get what they get all at once."""
    models = [Rated(f"m{i:02}", 10 - i * i / 20, 0.95 - i / 30) for i in range(12)]
    at_once = strongest(models, empty_context=False)
    assert len(at_once) == 66
    monkeypatch.setattr(pairs, "_CHUNK", 7)
    assert strongest(models, empty_context=False) == at_once


def test_cost_ranks_the_used_by_quality() -> None:
    """π / rank over the used models; a set without one costs what the form says."""
    a, b, unused = Rated("a", 8.0, 0.75), Rated("b", 6.0, 0.5625), Rated("c", 9.0, 0.5)
    assert cost([b, unused, a], 0.5, 1.0) == pytest.approx(0.05 + 0.175 / 2)
    assert (cost([unused], 0.5, 1.0), cost([unused], 0.5, None), cost([], 0.5, None)) == (1.0, 0.0, 0.0)


def test_numbers_outside_their_range_are_refused() -> None:
    """NaN, a share above 1 and a name twice raise and name the model."""
    for bad in (Rated("x", 11.0, 0.5), Rated("x", 5.0, 1.5), Rated("x", float("nan"), 0.5)):
        with pytest.raises(ValueError, match="x: quality must be"):
            strongest([bad], empty_context=False)
    with pytest.raises(ValueError, match="once"):
        strongest([Rated("x", 5.0, 0.5)] * 2, empty_context=True)
    assert strongest([], empty_context=True) == strongest([], empty_context=False) == {}


def test_default_form_leaves_out_what_is_unknown_and_shrinks_the_rest() -> None:
    """Models without numbers have no pairs; a mean moves toward the mean of all by 20 pseudo-runs."""

    def learned(quality: float | None) -> ModelLearned:
        return ModelLearned("f", 5, 5, 0.5, 0.1, quality, 0.8, None, 0.0)

    models = {"a": learned(9.0), "b": learned(8.0), "c": learned(7.0), "x": learned(None)}
    assert set(strongest_default(models)) == {("a", "b"), ("a", "c"), ("b", "c")}
    rows = [_Row("a", 10.0, 1.0)] * 20 + [_Row("b", 0.0, 0.0)] * 20 + [_Row("b", None, 0.5)]
    assert shrunk_means(rows) == [Rated("a", 7.5, 0.75), Rated("b", 2.5, 0.25)]


class _Row:
    def __init__(self, model: str, quality: float | None, accuracy: float) -> None:
        self.model, self.quality, self.accuracy = model, quality, accuracy
