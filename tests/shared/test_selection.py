"""Drawing an ensemble."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chemistry.snapshot import Learned, ModelLearned, PairLearned
from shared.choosing import Choice
from shared.errors import NotEnoughModels, SettingsError
from shared.family_mix import Families
from shared.selection import Candidate, Strategy, draw, substitutes

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
        (
            "BEST",
            3,
            (),
            "unknown strategy 'BEST': one of LOCAL, REMOTE, RANDOM, PERFORMANCE, CHEMISTRY, FIXED",
        ),
    ],
)
def test_bad_orders(strategy: str, n: int, fixed: tuple[str, ...], message: str) -> None:
    """An impossible size, a name given twice or an unknown strategy says what is possible."""
    with pytest.raises(SettingsError, match=message):
        draw(strategy, n, POOL, 1, fixed)


EIGHT = [c for c in POOL if c.family != "rowan"][:8]
CHOICE = Choice(
    Strategy.CHEMISTRY,
    ("sim-alder-base", "sim-birch-base", "sim-birch-large"),
    "outcomes",
    0.8,
    0.02,
    {},
    0,
    weakest="sim-birch-large",
)


@pytest.mark.parametrize(
    ("families", "without"),
    [
        ("any", ()),
        ("mixed", ()),
        ("any", ("sim-birch-small", "sim-cedar-base")),
        ("mixed", ("sim-cedar-base",)),
    ],
)
def test_exploring(families: Families, without: tuple[str, ...]) -> None:
    """The chosen set but for the share that explores; frequencies agree with the stated probabilities."""
    mixed = Choice(
        Strategy.CHEMISTRY, ("sim-alder-base", "sim-birch-base", "sim-cedar-small"),
        "outcomes", 0.8, 0.02, {}, 0,
        weakest="sim-cedar-small", without_history=without,
    )  # fmt: skip
    draws = [
        draw("CHEMISTRY", 3, EIGHT, seed, choice=mixed, explore_share=0.4, families=families)
        for seed in range(4000)
    ]
    stated: dict[frozenset[str], float] = {}
    for d in draws:
        assert d.probability is not None
        assert d.strategy is Strategy.CHEMISTRY
        assert stated.setdefault(frozenset(d.models), d.probability) == d.probability
        if not d.explored:
            assert set(d.models) == set(mixed.models)
        elif without:
            assert {"sim-alder-base", "sim-birch-base"} < set(d.models)
            assert set(d.models) & set(without)
    assert sum(stated.values()) == pytest.approx(1)
    counts = Counter(frozenset(d.models) for d in draws)
    for models, probability in stated.items():
        assert abs(counts[models] - 4000 * probability) < 5 * (4000 * probability) ** 0.5
    assert abs(sum(d.explored for d in draws) - 1600) < 160
    assert len({d.models for d in draws if not d.explored}) == 6  # the seats' orders


@pytest.mark.parametrize("strategy", ["PERFORMANCE", "CHEMISTRY"])
def test_without_history_it_is_random_and_says_so(strategy: str) -> None:
    """The same draw as RANDOM's, stored as RANDOM."""
    assert draw(strategy, 3, POOL, 5, explore_share=0.5) == draw("RANDOM", 3, POOL, 5)


def test_a_choice_must_fit_the_draw() -> None:
    """A choice of another size, or of a model that may not sit, is refused."""
    with pytest.raises(SettingsError, match="another size"):
        draw("CHEMISTRY", 4, EIGHT, 1, choice=CHOICE)
    with pytest.raises(SettingsError, match="other candidates"):
        draw("CHEMISTRY", 3, EIGHT[:3], 1, choice=CHOICE)


def _sets(families: Families, n: int, pool: list[Candidate]) -> list[frozenset[str]]:
    """All sets that are asked for, by looking at every one."""
    of = {c.name: c.family for c in pool}
    every = [frozenset(s) for s in combinations(sorted(of), n)]
    kinds = {s: len({of[m] for m in s}) for s in every}
    most = max(kinds.values())
    return [s for s in every if families == "any" or kinds[s] == (1 if families == "same" else most)]


@pytest.mark.parametrize(
    ("families", "n"), [("same", 2), ("same", 3), ("mixed", 2), ("mixed", 3), ("mixed", 4)]
)
def test_families(families: Families, n: int) -> None:
    """Uniform over the sets of one family, or of as many as can be; the probability is exact."""
    asked = _sets(families, n, EIGHT)
    counts: Counter[frozenset[str]] = Counter()
    for seed in range(40 * len(asked)):
        drawn = draw("RANDOM", n, EIGHT[::-1], seed, families=families)
        assert drawn.probability == pytest.approx(1 / len(asked))
        counts[frozenset(drawn.models)] += 1
    assert set(counts) <= set(asked)
    chi2 = sum((counts[s] - 40) ** 2 / 40 for s in asked)
    assert chi2 < len(asked) + 5 * (2 * len(asked)) ** 0.5


def test_families_that_cannot_be() -> None:
    """The message says how many there are and what to do."""
    with pytest.raises(NotEnoughModels, match=r"no family has 4 models .*the largest has 3.*any"):
        draw("RANDOM", 4, POOL, 1, families="same")
    with pytest.raises(NotEnoughModels, match="3 models of 1 families"):
        draw("RANDOM", 3, POOL[:3], 1, families="mixed")


def test_substitutes() -> None:
    """The next in rank, whoever fits best with those who stay, or the same draw gone on with."""
    value = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}
    models = {n: ModelLearned("f", 9, 9, v, 0.1, None, None, None, 0.0) for n, v in value.items()}
    pairs = {("a", "d"): PairLearned(9, None, 0, (), 0.3, 0.1)}
    learned = Learned("quality", 9, models, pairs)
    allowed = ["new", *value]
    assert substitutes("PERFORMANCE", allowed, {"a"}, seed=1, learned=learned) == ["b", "c", "d", "new"]
    fitting = substitutes("CHEMISTRY", allowed, {"a"}, seed=1, staying={"a"}, learned=learned)
    assert fitting == ["d", "b", "c", "new"]
    assert substitutes("FIXED", allowed, {"a"}, seed=1) == []
    drawn = draw("RANDOM", 3, POOL, 7)
    rest = substitutes("RANDOM", drawn.allowed, drawn.models, seed=7)
    assert [*drawn.models, *rest] == substitutes("CHEMISTRY", drawn.allowed, (), seed=7)
    family = {"b": "x", "c": "y", "a": "x", "d": "y", "new": "x"}
    kept = substitutes(
        "PERFORMANCE", allowed, {"a"}, seed=1, staying={"a"}, learned=learned, families="mixed", family=family
    )
    assert kept == ["c", "d", "b", "new"]


def test_a_single_model_is_named() -> None:
    """One model alone is an ensemble only where it is named."""
    assert draw("FIXED", 3, POOL, 1, ("sim-rowan-base",)).models == ("sim-rowan-base",)
