"""Drawing an ensemble."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import NotEnoughModels, SettingsError
from shared.selection import Candidate, Strategy, draw

POOL = [
    Candidate(f"sim-{family}-{size}", family, "local" if size == "small" else "remote", simulated=True)
    for family in ("alder", "birch", "cedar", "rowan")
    for size in ("small", "base", "large")
]
LOCAL = {c.name for c in POOL if c.location == "local"}
seeds = st.integers(-(2**63), 2**63 - 1)


@given(st.sampled_from(["LOCAL", "REMOTE", "RANDOM"]), st.integers(2, 12), seeds, st.permutations(POOL))
def test_draw(strategy: str, n: int, seed: int, candidates: list[Candidate]) -> None:
    """N different models of the strategy's location, the same for a seed whatever the candidates' order."""
    eligible = {"LOCAL": LOCAL, "REMOTE": {c.name for c in POOL} - LOCAL, "RANDOM": {c.name for c in POOL}}
    allowed = eligible[strategy]
    if n > len(allowed):
        with pytest.raises(NotEnoughModels, match=rf"needs {n} models .* leave {len(allowed)}"):
            draw(strategy, n, candidates, seed)
        return
    drawn = draw(strategy, n, candidates, seed)
    assert len(drawn.models) == len(set(drawn.models)) == n
    assert set(drawn.models) <= allowed
    assert drawn.allowed == tuple(sorted(allowed))
    assert drawn.probability == 1 / math.comb(len(allowed), n)
    assert (drawn.seed, drawn.strategy) == (seed, Strategy(strategy))
    assert drawn == draw(strategy, n, POOL, seed)


def test_uniform_over_sets_and_seats() -> None:
    """Over seeds every set of three of six is drawn, and every model sits first, equally often."""
    six = [c for c in POOL if c.location == "remote"][:6]
    draws = [draw("RANDOM", 3, six, seed).models for seed in range(8000)]
    sets = Counter(frozenset(models) for models in draws)
    expected = 8000 / 20
    chi2 = sum(
        (sets[frozenset(s)] - expected) ** 2 / expected for s in combinations([c.name for c in six], 3)
    )
    assert chi2 < 43.8  # 19 degrees of freedom, p = 0.001
    first = Counter(models[0] for models in draws)
    assert all(abs(first[c.name] - 8000 / 6) < 170 for c in six)  # 5 sd


def test_fixed() -> None:
    """A fixed list sits as it is given, with certainty, whatever n is."""
    fixed = ("sim-rowan-base", "sim-alder-large")
    drawn = draw("FIXED", 3, POOL, 1, fixed)
    assert drawn.models == fixed
    assert drawn.probability == 1.0
    assert len(drawn.allowed) == 12


def test_fixed_names_must_be_allowed() -> None:
    """A fixed list is no way around the policy: a name that is no candidate is an error that says which."""
    with pytest.raises(NotEnoughModels, match=r"FIXED names 2 models, of which 1 .*other-model"):
        draw("FIXED", 3, POOL, 1, ("sim-rowan-base", "other-model"))


@pytest.mark.parametrize(
    ("strategy", "n", "fixed", "message"),
    [
        ("RANDOM", 1, (), "2 to 12 models, not 1"),
        ("FIXED", 3, (), "2 to 12 models, not 0"),
        ("RANDOM", 13, (), "2 to 12 models, not 13"),
        ("FIXED", 3, ("sim-rowan-base", "sim-rowan-base"), "twice"),
        ("BEST", 3, (), "unknown strategy 'BEST': one of LOCAL, REMOTE, RANDOM, PERFORMANCE, CHEMISTRY, FIXED"),
    ],
)
def test_bad_orders(strategy: str, n: int, fixed: tuple[str, ...], message: str) -> None:
    """An impossible size, a name given twice or an unknown strategy says what is possible."""
    with pytest.raises(SettingsError, match=message):
        draw(strategy, n, POOL, 1, fixed)
