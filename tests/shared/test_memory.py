"""The reviewers' memory: what it learns from raw grades, and that it does no worse than knowing nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reviewers_memory import SCENARIOS, ratios
from shared import memory as module
from shared.memory import INHERITED, Memory, Pool, RawReview, estimate
from shared.peer_grading import Seat, grade_peers

KIND = "medication/general"
FAMILY = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c", "c2": "c"}
BIAS = {"a1": 0.10, "a2": -0.05, "b1": 0.0, "b2": 0.05, "c1": -0.10, "c2": 0.0}
SD = {"a1": 0.03, "a2": 0.15, "b1": 0.08, "b2": 0.08, "c1": 0.03, "c2": 0.15}

review = st.builds(
    RawReview,
    item=st.sampled_from("12345678"),
    reviewer=st.sampled_from(sorted(FAMILY)),
    family=st.just("?"),
    kind=st.sampled_from([KIND, "medication/cardiology"]),
    grade=st.floats(0, 1),
    at=st.floats(0, 1e7),
).map(lambda r: replace(r, family=FAMILY[r.reviewer]))


def history(
    consultations: int, *, shared_sd: float = 0.0, seed: int = 0, who: dict[str, str] = FAMILY, n: int = 3
) -> list[RawReview]:
    """Councils of n drawn from `who` grade each other, with planted biases, noise and family errors."""
    rng = np.random.default_rng(seed)
    names = sorted(who)
    rows = []
    for number in range(consultations):
        trio = [names[k] for k in rng.permutation(len(names))[:n]]
        for author in trio:
            truth, error = rng.uniform(0.4, 0.6), {f: rng.normal(0, shared_sd) for f in "abc"}
            for u in trio:
                if u != author:
                    grade = truth + BIAS[u] + error[who[u]] + rng.normal(0, SD[u])
                    rows.append(
                        RawReview(f"{number}:{author}", u, who[u], KIND, float(np.clip(grade, 0, 1)), 0)
                    )
    return rows


@settings(max_examples=30, deadline=None)
@given(reviews=st.lists(review, max_size=40), data=st.data())
def test_order_does_not_matter(reviews: list[RawReview], data: st.DataObject) -> None:
    """Any order of the stored reviews gives the same bits."""
    assert estimate(data.draw(st.permutations(reviews))) == estimate(reviews)


@settings(max_examples=30, deadline=None)
@given(reviews=st.lists(review, max_size=40))
def test_json_round_trip_is_bit_exact(reviews: list[RawReview]) -> None:
    """What is stored as JSON is the memory itself, and every number in it makes sense."""
    found = estimate(reviews)
    assert Memory.from_json(json.loads(json.dumps(found.to_json()))) == found
    for pool in [found.overall, *found.kinds.values()]:
        if pool is not None:
            assert min(pool.variance, pool.shared_pool, pool.bias_variance, *pool.shared.values()) > 0
            assert all(r.variance > 0 and r.bias_variance >= 0 for r in pool.reviewers.values())


def test_batches_give_the_same_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding up in many batches, newest first or last, changes nothing but rounding."""
    rows = [replace(r, at=1e5 * int(r.item.split(":")[0])) for r in history(300)]
    rows += [replace(r, item=f"x{r.item}", kind="medication/urology", at=3e6) for r in history(20, seed=3)]
    at_once = estimate(rows, predecessors={"a1.2": "a1"})
    items: dict[str, list[RawReview]] = {}
    for r in rows:
        items.setdefault(r.item, []).append(r)
    monkeypatch.setattr(module, "BATCH", 7)
    for ordered in (list(items.values()), list(items.values())[::-1]):
        sums = module.Sums()
        for given_ in ordered:
            sums.add(given_)
        found = sums.memory({"a1.2": "a1"})
        assert found.kinds.keys() == at_once.kinds.keys()
        for kind, pool in at_once.kinds.items():
            assert found.kinds[kind].told == pool.told
            assert dict(found.kinds[kind].shared) == pytest.approx(pool.shared, rel=1e-9)
            for name, reviewer in pool.reviewers.items():
                known = vars(found.kinds[kind].reviewers[name])
                assert known.pop("family") == reviewer.family
                assert known == pytest.approx(
                    {k: v for k, v in vars(reviewer).items() if k != "family"}, rel=1e-9, abs=1e-12
                )


def test_nothing_is_number_zero() -> None:
    """Without a review nothing is known of any kind."""
    assert estimate([]) == Memory() == Memory.from_json({})
    assert estimate([]).pool(KIND) is None


def test_planted_bias_and_noise_are_found() -> None:
    """After 400 consultations biases (their common offset apart) and noise are about what was planted."""
    found = estimate(history(400)).pool(KIND)
    assert found is not None
    offset = np.mean(list(BIAS.values()))
    for name, reviewer in found.reviewers.items():
        assert reviewer.bias == pytest.approx(BIAS[name] - offset, abs=0.02)
        total = reviewer.variance + found.shared[FAMILY[name]]
        assert np.sqrt(total) == pytest.approx(SD[name], abs=0.03)
        assert np.sqrt(reviewer.bias_variance) < 0.015


def test_shared_errors_are_found() -> None:
    """What a family shares is told from what its members do alone, once members sat together."""
    alone, together = estimate(history(400)).pool(KIND), estimate(history(400, shared_sd=0.12)).pool(KIND)
    assert alone is not None
    assert together is not None
    assert alone.told == together.told == {"a", "b", "c"}
    assert max(alone.shared.values()) < 0.004
    assert min(together.shared.values()) > 0.008


def test_sharing_needs_three_families() -> None:
    """With two families nothing tells what each of them shares."""
    two = {name: family for name, family in FAMILY.items() if family != "c"}
    found = estimate(history(400, who=two)).pool(KIND)
    assert found is not None
    assert found.told == frozenset()


def test_sharing_needs_enough_reviews() -> None:
    """After three consultations no family has sat together often enough."""
    found = estimate(history(3)).pool(KIND)
    assert found is not None
    assert found.told == frozenset()


def test_items_with_one_grade_teach_nothing() -> None:
    """Councils of two never compare reviewers: everybody keeps the pool's numbers."""
    found = estimate(history(50, n=2)).pool(KIND)
    nothing = Pool()
    assert found is not None
    for reviewer in found.reviewers.values():
        assert (reviewer.bias, reviewer.reviews) == (0.0, 0.0)
        assert reviewer.bias_variance == found.bias_variance
        assert reviewer.variance == pytest.approx(nothing.variance)


@pytest.mark.parametrize("others", [0, 200])
def test_who_was_never_compared_counts_as_a_stranger(others: int) -> None:
    """In each kind and in all, whoever else is known: nobody of whom as little is known counts less."""
    rows = [*history(others), RawReview("alone", "x", "x", KIND, 0.5, 0)]
    rows += [replace(r, item=f"u{r.item}", kind="medication/urology") for r in history(others // 10, seed=2)]
    found = estimate(rows)
    for pool in (found.overall, *found.kinds.values()):
        assert pool is not None
        item = grade_peers([(0, 9, 1.0), (1, 9, 0.0)], {0: Seat("x", "x"), 1: Seat("y", "y")}, pool).items[9]
        assert item.grade == pytest.approx(0.5)


def test_little_history_is_shrunk() -> None:
    """One consultation moves a bias by clearly less than it seems to show."""
    rows = [
        RawReview(pair, u, u, KIND, grade, 0)
        for pair in ("xy", "xz", "yz")
        for u, grade in zip(pair, (0.9, 0.3), strict=True)
    ]
    found = estimate(rows).pool(KIND)
    assert found is not None
    assert 0.1 < found.reviewers["x"].bias < 0.3  # by its grades alone it would be 0.4
    assert found.reviewers["z"].bias == pytest.approx(-found.reviewers["x"].bias)


def test_old_reviews_fade() -> None:
    """A reviewer who has changed is known by what it does now."""
    then = [replace(r, grade=min(1.0, r.grade + 0.2)) if r.reviewer == "b1" else r for r in history(200)]
    now = [replace(r, item=f"now {r.item}", at=4 * module.HALF_LIFE_S) for r in history(200, seed=1)]
    faded, kept = estimate(then + now), estimate(then + now, half_life_s=1e15)
    assert faded.overall is not None
    assert kept.overall is not None
    assert faded.overall.reviewers["b1"].bias < 0.03
    assert kept.overall.reviewers["b1"].bias > 0.05
    assert faded.overall.reviewers["b1"].reviews < 0.6 * kept.overall.reviewers["b1"].reviews


def test_a_thin_kind_leans_on_all_kinds() -> None:
    """In a kind seen twice a reviewer is about who it is elsewhere, also one who never sat there."""
    thin = [replace(r, item=f"x{r.item}", kind="medication/urology") for r in history(2, seed=5)]
    found = estimate(history(300) + thin)
    elsewhere, here = found.pool(KIND), found.pool("medication/urology")
    assert elsewhere is not None
    assert here is not None
    assert here.reviewers.keys() == elsewhere.reviewers.keys()
    assert here.told == elsewhere.told
    for name, reviewer in here.reviewers.items():
        assert reviewer.bias == pytest.approx(elsewhere.reviewers[name].bias, abs=0.05)
    assert here.variance == elsewhere.variance
    assert found.pool("medication/dermatology") is found.overall


def test_a_new_version_starts_from_its_predecessor() -> None:
    """It has its predecessor's numbers at a quarter of the weight, its own predecessor's at a sixteenth."""
    found = estimate(history(200), predecessors={"a1.2": "a1", "a1.3": "a1.2", "d9": "unknown"}).pool(KIND)
    assert found is not None
    before, second, third = (found.reviewers[name] for name in ("a1", "a1.2", "a1.3"))
    assert "d9" not in found.reviewers
    assert second.family == third.family == "a"
    assert second.bias == pytest.approx(before.bias, abs=0.02)
    assert third.bias > 0
    assert before.bias_variance < second.bias_variance < third.bias_variance < found.bias_variance
    assert third.reviews == pytest.approx(INHERITED * second.reviews)
    own = len([r for r in history(200) if r.reviewer == "a1"])
    assert second.reviews == pytest.approx(INHERITED * own)


LENGTHS = (0, 1, 5, 100)


@pytest.mark.parametrize(("scenario", "last"), [("trio, biases", 0.92), ("trio, no biases", 0.95)])
def test_memory_is_better_than_the_mean(scenario: str, last: float) -> None:
    """A small run of the benchmark: never clearly worse than the plain mean, clearly better after 100."""
    found = ratios(*SCENARIOS[scenario], seeds=20, lengths=LENGTHS)
    assert found[0] == 1.0
    assert found[1] < 1.03
    assert found[5] < 1.02
    assert found[100] < last


@pytest.mark.parametrize("scenario", ["pair, ρ 0.8", "pool, ρ 0.8"])
def test_shared_errors_do_not_mislead(scenario: str) -> None:
    """Two of three that share their errors: the mean where that cannot be told, never worse."""
    found = ratios(*SCENARIOS[scenario], seeds=12, lengths=(1, 100))
    assert found[1] == 1.0
    assert found[100] == 1.0 if scenario.startswith("pair") else found[100] < 0.95


def test_the_bars_see_an_estimator_without_shrinkage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pseudo-counts the same small run is far above them."""
    for name in ("PSEUDO_REVIEWS", "PSEUDO_SHARED", "PSEUDO_POOL", "PSEUDO_REVIEWERS"):
        monkeypatch.setattr(module, name, 0.01)
    found = ratios(*SCENARIOS["trio, biases"], seeds=20, lengths=LENGTHS)
    assert max(found[1], found[5]) > 1.03
