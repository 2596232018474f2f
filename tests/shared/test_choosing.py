"""Choosing an ensemble from what was learned."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import choosing
from shared.chemistry.ensemble_value import known_of, values
from shared.chemistry.snapshot import Learned, ModelLearned, PairLearned
from shared.choosing import Dials, choose
from shared.family_mix import Families
from shared.selection import Candidate

NOTHING = Dials(0.0, 0.0, 0.0, 0.0, 0.0)
PLAIN = ModelLearned("f", 100, 100, 0.7, 0.0, 7.0, 0.7, 60.0, 0.0)


def world(
    values_: list[float],
    families: list[str],
    effects: dict[tuple[int, int], float] | None = None,
    **changes: Any,
) -> tuple[list[Candidate], Learned]:
    """Models m00, m01, … of these values and families, pairs of these effects."""
    names = [f"m{k:02}" for k in range(len(values_))]
    models = {
        name: replace(PLAIN, family=f, value=v, **changes)
        for name, v, f in zip(names, values_, families, strict=True)
    }
    pairs = {
        (names[a], names[b]): PairLearned(50, None, 0, (), effect, 0.0)
        for (a, b), effect in (effects or {}).items()
    }
    candidates = [Candidate(n, f, "local", True) for n, f in zip(names, families, strict=True)]
    return candidates, Learned("outcomes", 100, models, pairs)


def free(candidates: list[Candidate]) -> dict[str, float | None]:
    """Nobody costs anything."""
    return {c.name: 0.0 for c in candidates}


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 8), st.integers(2, 4), st.integers(0, 1000))
def test_the_best_of_all(size: int, n: int, seed: int) -> None:
    """With no doubt and no price CHEMISTRY is the set of highest value, PERFORMANCE the best members."""
    rng = np.random.default_rng(seed)
    effects = {pair: float(rng.normal(0, 0.05)) for pair in combinations(range(size), 2)}
    candidates, learned = world(
        rng.uniform(0.3, 0.9, size).tolist(), [f"f{k % 3}" for k in range(size)], effects
    )
    names = [c.name for c in candidates]
    known = known_of(names, learned)
    by_set = {
        s: float(values(known, np.array([[names.index(m) for m in s]])).value[0])
        for s in combinations(names, n)
    }
    found = choose("CHEMISTRY", n, candidates[::-1], learned, NOTHING, free(candidates))
    best = choose("PERFORMANCE", n, candidates[::-1], learned, NOTHING, free(candidates))
    assert found is not None
    assert best is not None
    assert found.value == pytest.approx(max(by_set.values()))
    assert set(best.models) == set(sorted(names, key=lambda m: -learned.models[m].value)[:n])
    assert found.parts["score"] == pytest.approx(found.parts["members"] + found.parts["pairs"])
    assert found.weakest == min(found.models, key=lambda m: learned.models[m].value)


def test_no_history() -> None:
    """Nothing learned, too few known models, or a strategy that does not learn: no choice."""
    candidates, learned = world([0.7] * 4, ["f"] * 4)
    assert choose("CHEMISTRY", 3, candidates, None, NOTHING, {}) is None
    assert choose("RANDOM", 3, candidates, learned, NOTHING, {}) is None
    new = Candidate("new", "g", "local", True)
    assert choose("PERFORMANCE", 3, [*candidates[:2], new], learned, NOTHING, {}) is None
    found = choose("CHEMISTRY", 3, [*candidates, new], learned, NOTHING, free(candidates))
    assert found is not None
    assert found.without_history == ("new",)
    assert "new" not in found.models


def test_penalties() -> None:
    """Each part is what the dials say of the slowest, the sum of prices and of lost seats."""
    candidates, learned = world([0.9, 0.8, 0.7, 0.6], list("abcd"), failure_rate=0.1, latency_s=120.0)
    dials = Dials(0, 0.5, 0.01, 0.05, 0.1)
    usd: dict[str, float | None] = {"m00": 1.0, "m01": None, "m02": 0.25}
    found = choose("PERFORMANCE", 3, candidates, learned, dials, usd)
    assert found is not None
    parts = found.parts
    assert (parts["minutes"], parts["latency"]) == pytest.approx((2, 0.02))
    assert (parts["usd"], parts["price"]) == pytest.approx((2.25, 0.1125))  # the unknown as the dearest
    assert parts["unknown_prices"] == 1
    assert (parts["lost_seats"], parts["failures"]) == pytest.approx((0.3, 0.03))
    total = parts["value"] + parts["optimism"] - parts["latency"] - parts["price"] - parts["failures"]
    assert parts["score"] == pytest.approx(total)
    dear = choose(
        "CHEMISTRY", 3, candidates, learned, replace(dials, penalty_per_usd=10), {**usd, "m03": 0.0}
    )
    assert dear is not None
    assert "m03" in dear.models


def test_ties() -> None:
    """Within one standard error the cheaper; at one price the more varied; then the names."""
    candidates, learned = world([0.80, 0.79, 0.78, 0.77], list("aaab"), value_se=0.2)
    prices = {**free(candidates), "m00": 1.0}
    wide = replace(NOTHING, price_tie=0.1)
    dear = choose("CHEMISTRY", 3, candidates, learned, NOTHING, prices)
    assert dear is not None
    assert "m00" in dear.models  # the cheaper set gives up more than `price_tie`
    cheaper = choose("CHEMISTRY", 3, candidates, learned, wide, prices)
    assert cheaper is not None
    assert cheaper.models == ("m01", "m02", "m03")
    assert cheaper.near_equal == 3
    certain = choose(
        "CHEMISTRY", 3, candidates, world([0.80, 0.79, 0.78, 0.77], list("aaab"))[1], NOTHING, prices
    )
    assert certain is not None
    assert certain.models == ("m00", "m01", "m02")
    assert certain.near_equal == 0
    candidates, learned = world([0.7] * 4, list("aaab"))
    varied = choose("CHEMISTRY", 3, candidates, learned, NOTHING, free(candidates))
    assert varied is not None
    assert varied.models == ("m00", "m01", "m03")
    assert varied.alternatives[0].models == ("m00", "m01", "m02")


@pytest.mark.parametrize("strategy", ["PERFORMANCE", "CHEMISTRY"])
@pytest.mark.parametrize(("families", "expected"), [("same", "aaa"), ("mixed", "abc")])
def test_families(strategy: str, families: Families, expected: str) -> None:
    """Only sets of one family, or of as many as can be."""
    candidates, learned = world([0.9, 0.8, 0.85, 0.84, 0.7, 0.6], list("abbaac"))
    found = choose(strategy, 3, candidates, learned, NOTHING, free(candidates), families)
    assert found is not None
    of = {c.name: c.family for c in candidates}
    assert "".join(sorted(of[m] for m in found.models)) == expected
    assert choose(strategy, 4, candidates, learned, NOTHING, free(candidates), "same") is None


def test_climbing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sets are too many to look at all, climbing finds the best of what can be enumerated."""
    rng = np.random.default_rng(7)
    effects = {pair: float(rng.normal(0, 0.03)) for pair in combinations(range(12), 2)}
    candidates, learned = world(rng.uniform(0.5, 0.8, 12).tolist(), [f"f{k % 4}" for k in range(12)], effects)
    for families in ("any", "mixed", "same"):
        exact = choose("CHEMISTRY", 3, candidates, learned, NOTHING, free(candidates), families)
        with monkeypatch.context() as patched:
            patched.setattr(choosing, "EXACT", 10)
            climbed = choose("CHEMISTRY", 3, candidates, learned, NOTHING, free(candidates), families)
        assert exact is not None
        assert climbed is not None
        assert climbed.models == exact.models
        assert (exact.exact, climbed.exact) == (True, False)
    assert math.comb(12, 3) < choosing.EXACT
