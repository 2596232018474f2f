"""What is learned of models and pairs."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest

from benchmarks.worlds import Truth, World, hidden_groups, history, independent, play, shared_blind_spots
from shared.chemistry.aggregates import Aggregates, EnsembleSums, ModelSums, PairSums
from shared.chemistry.effects import learn
from shared.chemistry.pooling import pooled, spread, toward
from shared.chemistry.snapshot import Chemistry, Learned
from shared.chemistry.wrong_together import OFTEN


def learned(truth: Truth, seed: int, length: int) -> Learned:
    """What a history of random trios in this world teaches."""
    right, family = truth
    return learn(history(np.random.default_rng(seed), right, family, 3, length)).parents["case"]


def models(kind: str, right: list[float], runs: float = 200, quality: float = 6.0) -> list[ModelSums]:
    """Two models a family, each with such a share right."""
    return [
        ModelSums(kind, f"m{k}", f"f{k // 2}", runs, runs, quality * runs, quality**2 * runs + runs, runs,
                  share * runs, 0, 0, runs, 12 * runs, runs, 0)
        for k, share in enumerate(right)
    ]  # fmt: skip


def test_independent_errors_have_no_effect() -> None:
    """Where nobody errs together the strength is 0 in most histories, and effects are near 0 in all."""
    found = [learned(independent(np.random.default_rng(seed)), seed, 600) for seed in range(10)]
    assert sum(all(sd == 0 for sd in one.strength.values()) for one in found) >= 8
    for one in found:
        assert max(abs(pair.effect) for pair in one.pairs.values()) < 0.04
    assert any(all(pair.effect == 0 for pair in one.pairs.values()) for one in found)


def test_shared_blind_spots_are_found() -> None:
    """Effects of pairs come close to the true covariances, below 0 within families; the error is stated."""
    right, family = shared_blind_spots(np.random.default_rng(3))
    one = learned((right, family), 3, 2000)
    p = right.mean(axis=1)
    truth = -(right @ right.T / right.shape[1] - np.outer(p, p))
    off = []
    for (a, b), pair in one.pairs.items():
        i, j = int(a[-2:]), int(b[-2:])
        off.append((pair.effect - truth[i, j]) / pair.effect_se)
        if family[i] == family[j]:
            assert pair.effect < -0.08
    assert np.sqrt(np.mean(np.square(off))) < 2.5
    assert one.strength["pair_of_families"] > 0


def test_a_pair_that_never_sat_together_has_its_families_effect() -> None:
    """The pooled effect of the families stands for what was never seen."""
    right, family = shared_blind_spots(np.random.default_rng(5))
    whole = history(np.random.default_rng(5), right, family, 3, 1000)
    gone = ("model-00", "model-03")
    less = Aggregates(whole.models, [p for p in whole.pairs if (p.a, p.b) != gone], [], 0, "")
    one = learn(less).parents["case"]
    assert gone not in one.pairs
    effect, se = one.effect(*gone, "family-0", "family-1")
    assert (effect, se) == one.families["family-0", "family-1"]
    assert effect == pytest.approx(one.pairs["model-01", "model-04"].effect, abs=0.03)


def test_basis() -> None:
    """Outcomes from 20 answers on, a kind's or else its parent's; never mixed within a parent's kind."""
    few = models("a/x", [0.5, 1.0], runs=4)
    assert learn(Aggregates(few, [], [], 0, "")).kinds["a/x"].basis == "quality"
    many = models("a/y", [0.5, 1.0], runs=20)
    both = learn(Aggregates([*few, *many], [], [], 0, ""))
    assert {one.basis for one in (*both.kinds.values(), *both.parents.values())} == {"outcomes"}
    other = learn(Aggregates([*few, *models("b/y", [0.5, 1.0])], [], [], 0, ""))
    assert (other.kinds["a/x"].basis, other.kinds["b/y"].basis) == ("quality", "outcomes")


def test_a_thin_kind_leans_on_its_siblings() -> None:
    """The ranking of a kind with little of its own is that of the other kinds, at its own level."""
    rich = models("a/rich", [0.9, 0.8, 0.7, 0.6])
    thin = models("a/thin", [0.4, 0.4, 0.6, 0.6], runs=5)
    found = learn(Aggregates([*rich, *thin], [], [], 0, ""))
    values = [found.kinds["a/thin"].models[f"m{k}"].value for k in range(4)]
    assert values[0] > values[3]
    assert max(values) < 0.8
    assert all(0 <= m.value <= 1 and m.value_se > 0 for m in found.kinds["a/thin"].models.values())


def test_a_model_unknown_to_a_kind_is_known_by_its_parent() -> None:
    """Who has answered in a sibling kind alone still has a value, with more doubt."""
    rich, thin = models("a/rich", [0.9, 0.8, 0.7, 0.6]), models("a/thin", [0.8, 0.7, 0.6])
    found = learn(Aggregates([*rich, *thin], [], [], 0, "")).kinds["a/thin"].models
    assert found["m3"].runs == 0
    assert found["m3"].value_se > found["m2"].value_se
    assert found["m3"].value < found["m0"].value


def test_quality_effects() -> None:
    """Without outcomes a planted pair effect on the consensus' quality is found, and noise alone is none."""
    names = [f"m{k}" for k in range(8)]
    rng = np.random.default_rng(2)
    for planted in (0.0, -2.0):
        ensembles = []
        for members in combinations(names, 3):
            same = [int(a[1:]) // 2 == int(b[1:]) // 2 for a, b in combinations(members, 2)]
            mean = 6 + planted * np.mean(same)
            y = rng.normal(mean, 0.5, 6)
            ensembles.append(EnsembleSums("a/x", 0, members, 6, float(y.sum()), float((y**2).sum()), 0, 0))
        sums = [
            ModelSums("a/x", n, f"f{int(n[1:]) // 2}", 100, 100, 600, 3700, 0, 0, 0, 0, 0, 0) for n in names
        ]
        one = learn(Aggregates(sums, [], ensembles, 0, "")).kinds["a/x"]
        assert one.basis == "quality"
        effect = one.pairs["m0", "m1"].effect
        if planted:
            assert effect - one.pairs["m0", "m2"].effect == pytest.approx(planted / 10, abs=0.05)
        else:
            assert abs(effect) < 0.01


@pytest.mark.parametrize("together", [3.0, 200.0])
def test_a_thin_kind_says_nothing_of_its_own_about_pairs(together: float) -> None:
    """A few coincidences in one kind are no effect; as many as make it sure are one of that kind alone."""
    sums = [*models("a/rich", [0.9] * 4, 2000), *models("a/thin", [0.9] * 4, 10 * together)]
    usual = [
        PairSums("a/rich", 0, a, b, 600, 60, 60, 6) for a, b in combinations(("m0", "m1", "m2", "m3"), 2)
    ]
    wrong = together / 10
    own = [PairSums("a/thin", 0, "m0", "m1", together, wrong, wrong, wrong)]
    kinds = learn(Aggregates(sums, [*usual, *own], [], 0, "")).kinds
    assert abs(kinds["a/rich"].pairs["m0", "m1"].effect) < 0.005
    if together < OFTEN:
        assert kinds["a/thin"].pairs["m0", "m1"].effect == pytest.approx(0, abs=0.005)
    else:
        assert kinds["a/thin"].pairs["m0", "m1"].effect == pytest.approx(-0.09, abs=0.03)


def test_the_same_sums_give_the_same_json() -> None:
    """Deterministic, JSON-able, and the same when read back."""
    right, family = hidden_groups(np.random.default_rng(1))
    sums = history(np.random.default_rng(1), right, family, 3, 200)
    body = json.dumps(learn(sums).to_json())
    assert body == json.dumps(learn(sums).to_json())
    assert Chemistry.from_json(json.loads(body)) == learn(sums)
    assert learn(Aggregates([], [], [], 0, "")) == Chemistry()


def test_worlds() -> None:
    """Ten seeds of a world: between chance and the best, above PERFORMANCE where blind spots are shared."""
    got = [play(World(shared_blind_spots), seed, 300) for seed in range(10)]
    for one in got:
        assert one.chemistry <= one.best
        assert one.performance <= one.best
    assert np.mean([o.chemistry - o.performance for o in got]) > 0
    assert np.mean([o.chemistry - o.chance for o in got]) > 0


def test_shrinkage() -> None:
    """No spread beyond sampling: τ² is 0 and only the prior holds; without data the prior stays as it is."""
    x, s2, prior = np.array([0.5, 0.6]), np.array([0.1, 0.1]), np.array([0.5, 0.5])
    assert spread(x, s2, prior) == 0
    assert spread(10 * x, s2, prior) == pytest.approx((4.5**2 + 5.5**2) / 2 - 0.1)
    mean, variance = toward(x, np.array([0.1, np.inf]), prior, np.array([0.1, 0.1]))
    assert mean == pytest.approx([0.5, 0.5])
    assert variance == pytest.approx([0.05, 0.1])


def test_pooled_is_the_posterior() -> None:
    """The tree's passes give what the joint normal distribution gives."""
    rng = np.random.default_rng(4)
    group = [("a", "a")] * 4 + [("a", "b")] * 5 + [("b", "b")] * 3
    class_of = {g: g[0] == g[1] for g in group}
    x = rng.normal(0, 0.02, 12) + np.array([{True: -0.15, False: 0.05}[class_of[g]] for g in group])
    s2 = rng.uniform(0.0005, 0.002, 12)
    found = pooled(x, s2, group, class_of, 0.25)
    c, g, leaf = found.sd
    same_group = np.array([[a == b for b in group] for a in group])
    same_class = np.array([[class_of[a] == class_of[b] for b in group] for a in group])
    prior = c**2 * same_class + g**2 * same_group + leaf**2 * np.eye(12)
    gain = prior @ np.linalg.inv(prior + np.diag(s2))
    assert found.mean == pytest.approx(gain @ x, abs=1e-9)
    assert found.variance == pytest.approx(np.diag(prior - gain @ prior), abs=1e-9)
