"""Support of a drug: today's formula without history, learned odds, and no seat that decides alone."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.refinement.problem import Problem
from shared.safety.finding import Finding, Severity
from shared.support import (
    LEAST_LABELLED,
    LEAST_ODDS,
    LOG_ODDS,
    MOST_ODDS,
    Evidence,
    Form,
    Shares,
    Test,
    evidence_of,
    log_odds,
    row,
    support,
)

KIND, OTHER = "medication/cardiology", "medication/general"
PASSED = Test(100, 50, 0.02, 0.05, 0.1, 0.2, (-0.2, -0.1), (-0.2, -0.1), None)

lists = st.dictionaries(st.integers(0, 6), st.frozensets(st.sampled_from("abcd")), min_size=1, max_size=6)
unit = st.floats(0, 1)


@st.composite
def histories(draw: st.DrawFn) -> Shares:
    """Few labelled decisions of some models "m0" … "m6", in two kinds."""
    counts = st.integers(0, 150).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
    models = st.dictionaries(st.sampled_from([f"m{k}" for k in range(7)]), counts)
    kinds = {kind: draw(models) for kind in (KIND, OTHER)}
    return Shares(kinds, {KIND: draw(st.integers(0, LEAST_LABELLED - 1)), OTHER: 500})


def models_of(named: dict[int, frozenset[str]]) -> dict[int, str]:
    """Each seat its own model."""
    return {seat: f"m{seat}" for seat in named}


@given(lists, st.dictionaries(st.integers(0, 6), unit), st.floats(0, 10))
@settings(max_examples=100, deadline=None)
def test_without_history_it_is_the_plain_formula(
    named: dict[int, frozenset[str]], grades: dict[int, float], gamma: float
) -> None:
    """Bit for bit ±0.6 a seat, and γ times the grade less the mean of the grades for those that name it."""
    known = [g for seat, g in sorted(grades.items()) if seat in named]
    mean = math.fsum(known) / len(known) if known else 0.0
    expected = {}
    for drug in sorted({drug for drugs in named.values() for drug in drugs}):
        logit = math.fsum(
            0.6 + gamma * (grades.get(seat, mean) - mean) if drug in drugs else -0.6
            for seat, drugs in named.items()
        )
        if abs(logit) < 30:
            expected[drug] = 1 / (1 + math.exp(-logit))
    for shares in (None, Shares()):
        found = support(named, models_of(named), grades, shares, kind=KIND, gamma=gamma)
        assert {drug: found[drug] for drug in expected} == expected
        assert list(found) == sorted(found)
        assert all(0 < p < 1 for p in found.values())


@given(lists.filter(lambda named: len(named) > 1), histories(), st.data())
@settings(max_examples=150, deadline=None)
def test_no_seat_alone_decides(named: dict[int, frozenset[str]], shares: Shares, data: st.DataObject) -> None:
    """Whatever a short history says: without the grades, nobody outvotes all others that agree."""
    alone = data.draw(st.sampled_from(sorted(named)))
    models = models_of(named)
    for mine, others in ((True, False), (False, True)):
        votes = {seat: frozenset("x" if (mine if seat == alone else others) else "") for seat in named}
        p = support(votes, models, {}, shares, kind=KIND, gamma=0.0)["x"]
        assert p <= 0.5 + 1e-12 if mine else p >= 0.5 - 1e-12


@given(lists, histories(), st.dictionaries(st.integers(0, 6), unit), st.floats(0, 10), st.randoms())
@settings(max_examples=50, deadline=None)
def test_order_has_no_influence(
    named: dict[int, frozenset[str]],
    shares: Shares,
    grades: dict[int, float],
    gamma: float,
    random: Random,
) -> None:
    """Seats in any order give the same bits, and the stored snapshot gives them again."""
    seats = list(named)
    random.shuffle(seats)
    first = support(named, models_of(named), grades, shares, kind=KIND, gamma=gamma)
    shuffled = {seat: named[seat] for seat in seats}
    again = Shares.from_json(shares.to_json())
    assert again == shares
    assert support(shuffled, models_of(shuffled), grades, again, kind=KIND, gamma=gamma) == first


def test_odds_from_shares_by_hand() -> None:
    """90 of 100 of the kind, 50 of 100 of another under the same parent; clipped with much history."""
    counts = {KIND: {"a": (90, 100), "best": (5000, 5000), "worst": (0, 5000)}, OTHER: {"a": (50, 100)}}
    rich = Shares(counts, {KIND: LEAST_LABELLED})
    prior = 1 / (1 + math.exp(-LOG_ODDS))
    wider = (140 + 20 * prior) / 220
    share = (90 + 20 * wider) / 120
    found = log_odds({0: "a", 1: "best", 2: "worst", 3: "new"}, rich, KIND)
    assert found == {
        0: pytest.approx(math.log(share / (1 - share))),
        1: MOST_ODDS,
        2: LEAST_ODDS,
        3: LOG_ODDS,
    }
    # another first part of the kind's name tells nothing; the other kind leans on what the first has
    assert log_odds({0: "a"}, rich, "imaging/head") == {0: LOG_ODDS}
    assert log_odds({0: "best"}, rich, OTHER)[0] == MOST_ODDS
    # below 200 decisions the best counts as much as all others together, and one seat stays as it is
    poor = Shares(counts, {KIND: LEAST_LABELLED - 1})
    assert log_odds({0: "best", 1: "worst", 2: "new"}, poor, KIND)[0] == LEAST_ODDS + LOG_ODDS
    assert log_odds({0: "best"}, poor, KIND) == {0: MOST_ODDS}


def test_a_well_graded_seat_can_overturn_two() -> None:
    """At γ = 4 a grade that is 0.3 above the two others' makes up for one seat's vote; at 0 none does."""
    named = {0: frozenset("x"), 1: frozenset(), 2: frozenset()}
    grades = {0: 0.8, 1: 0.5, 2: 0.5}
    by_gamma = [
        support(named, models_of(named), grades, None, kind=KIND, gamma=gamma)["x"] for gamma in (0, 4)
    ]
    assert by_gamma == [pytest.approx(1 / (1 + math.exp(0.6))), pytest.approx(1 / (1 + math.exp(-0.2)))]


@pytest.mark.parametrize("gamma", [-1.0, math.inf, math.nan])
def test_a_bad_weight_is_refused(gamma: float) -> None:
    """Negative, infinite or no number."""
    with pytest.raises(ValueError, match="γ is not a finite number"):
        support({0: frozenset("x")}, {0: "m"}, {}, None, kind=KIND, gamma=gamma)


def test_evidence_by_hand() -> None:
    """Indication, best vote of its class, gravest finding beside L₀ and what is taken, duplicates in L₀."""

    def finding(kind: str, drug: str, other: str, severity: Severity) -> Finding:
        return Finding(kind, drug, other, severity, "", "", "", "r")  # type: ignore[arg-type]

    named = {0: frozenset({"naproxen", "statin"}), 1: frozenset({"naproxen", "ibuprofen"}), 2: frozenset()}
    problem = Problem(
        candidates=("ibuprofen", "naproxen", "statin"),
        current=("warfarin",),
        findings=(
            finding("duplicate", "ibuprofen", "naproxen", Severity.moderate),
            finding("interaction", "naproxen", "warfarin", Severity.major),
            finding("interaction", "ibuprofen", "statin", Severity.contraindicated),  # statin is not in L₀
            finding("renal", "statin", "egfr", Severity.minor),
        ),
        treats={"naproxen": ("gout",)},
    )
    assert evidence_of(problem, named) == {
        "ibuprofen": Evidence(False, 2 / 3, 0.25, 1),
        "naproxen": Evidence(True, 1 / 3, 0.6, 0),
        "statin": Evidence(False, 0.0, 0.05, 0),
    }


def test_a_form_is_used_only_if_passed_and_told() -> None:
    """It replaces the first form where it passed its test and all evidence is there, and nowhere else."""
    named, told = {0: frozenset("x"), 1: frozenset()}, {"x": Evidence(True, 0.0, 0.0, 0)}
    form = Form(0.1, (1.0,) * 7, (0.0,) * 7, (1.0,) * 7, PASSED)
    failed = Form(**{**vars(form), "test": Test(**{**vars(PASSED), "why_not": "did not help"})})

    def p(form: Form, evidence: dict[str, Evidence] | None, kind: str = KIND) -> float:
        shares = Shares(forms={KIND: form})
        return support(named, models_of(named), {}, shares, kind=kind, gamma=1.0, evidence=evidence)["x"]

    assert p(form, told) == 1 / (1 + math.exp(-(0.1 + 0.5 + 1.0)))  # vote share and indication; votes cancel
    assert {p(failed, told), p(form, None), p(form, {}), p(form, told, OTHER)} == {0.5}
    assert row(1.0, 0.3, Evidence(True, 0.25, 0.6, 2)) == (1.0, 0.3, 1.0, 1.0, 0.25, 0.6, 2.0)
