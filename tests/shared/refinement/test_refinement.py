"""The refined list: equal to brute force, feasible, monotone in λ, deterministic."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.refinement import brute_force, feasible, instance, severity, shares_of_the_optimum
from shared.errors import SettingsError
from shared.refinement import Dials, Problem, Refined, refine
from shared.refinement.search import Slopes, positions
from shared.refinement.utility import Utility
from shared.safety.finding import Finding, Severity

SHARE = float(os.environ.get("CONSILIUM_REFINEMENT_SHARE", "0.03"))
"""Of the bars' full numbers; 1 takes minutes (benchmarks/refinement.py prints them)."""

NOTHING = Dials(0, 0, 0)
FREE = [s for s in Severity if s is not Severity.contraindicated]
ROOT = Path(__file__).parents[3]

seeds = st.integers(0, 10**9)


def pair(drug: str, other: str, severity: Severity = Severity.major, kind: str = "interaction") -> Finding:
    """A finding of two drugs."""
    return Finding(kind, drug, other, severity, "major bleeding", "", "FDA label", "r")  # type: ignore[arg-type]


def allergy(drug: str) -> Finding:
    """A finding that bars a drug, mild as it may be."""
    return Finding("allergy", drug, "penicillin", Severity.minor, "rash", "", "FDA label", "a")


def alike(problem: Problem, dials: Dials | None = None, p: float = 0.7, **grades: float) -> tuple[str, ...]:
    """The refined list where every candidate has the same support."""
    return refine(problem, dict.fromkeys(problem.candidates, p), (), grades, dials).drugs


def test_equals_brute_force() -> None:
    """On random problems the refined list is the one that looking at every list finds, ties included."""
    count = round(1000 * SHARE)
    different = [s for s in range(count) if (i := instance(s, most=12)).refined().drugs != brute_force(i)]
    assert (count, different) == (count, [])


def test_never_infeasible() -> None:
    """No refined list holds what is barred, alone, in a pair, or beside a current drug."""
    for seed in range(round(10_000 * SHARE)):
        i = instance(10**6 + seed, most=16)
        assert feasible(i, i.refined().drugs), seed


def test_climbed_lists_are_nearly_the_best_and_feasible() -> None:
    """Climbing reaches 0.995 of the optimum, summed over dense problems, and is feasible above 16 drugs."""
    reached, _ = shares_of_the_optimum(range(max(10, round(300 * SHARE))))
    assert reached >= 0.995
    for seed in range(10):
        i = instance(seed, least=17, most=30)
        r = i.refined()
        assert r.method == "climbed"
        assert feasible(i, r.drugs)


def test_the_gains_of_all_neighbours_are_differences_of_utility() -> None:
    """While climbing, each step to a feasible neighbour gains what U says, and no other step is open."""
    for seed in range(10):
        i = instance(seed, least=6, most=8, density=0.3)
        u = Utility(i.problem, i.support, i.dials)
        n = len(u.bits)
        code = u.feasible(sorted(u.support))
        gains = Slopes(u, {}, 0).gains(positions(code, n))
        for leaves, joins in product(range(n + 1), repeat=2):
            out, into = (1 << k if k < n else 0 for k in (leaves, joins))
            after = code & ~out | into
            possible = out & code == out and not into & code and not u.bars(after)
            expected = (u.terms(after) - u.terms(code)).total if possible else -math.inf
            assert gains[leaves, joins] == pytest.approx(expected, abs=1e-12)


def test_unanimous_drugs_stay_while_climbing_unless_barred() -> None:
    """What all seats name is kept above 16 candidates, but not what an allergy bars."""
    names = tuple(f"d{k:02}" for k in range(17))
    problem = Problem(names, ("warfarin",), (pair("d00", "warfarin"), allergy("d01")))
    support = dict.fromkeys(names, 0.8)
    free = refine(problem, support, names, {})
    held = refine(problem, support, names, {}, unanimous=["d00", "d01"])
    assert "d00" not in free.drugs
    assert held.drugs == tuple(sorted({*free.drugs, "d00"}))
    assert "d01" not in held.drugs


@given(seeds, st.lists(st.floats(0, 5), min_size=2, max_size=6, unique=True))
@settings(max_examples=60, deadline=None)
def test_more_lambda_never_means_more_severity(seed: int, lambdas: list[float]) -> None:
    """Raising λ never raises the summed severity of the result, ties or not."""
    i = instance(seed, most=10)
    found = []
    for value in sorted({round(x, 6) for x in lambdas}):
        found.append(severity(i, replace(i, dials=replace(i.dials, severity=value)).refined().drugs))
    assert all(b <= a + 1e-9 for a, b in pairwise(found))


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_without_dials_it_is_the_majority_less_what_is_barred(seed: int) -> None:
    """At λ = ν = κ = γ = 0 and equal shares three seats' refined list is their feasible majority list.

    For an even number of seats a drug that half of them name has support ½: a tie, which its grade decides.
    """
    i = instance(seed, most=12)
    votes = {
        d: sum((seed >> (3 * k + u)) & 1 for u in range(3)) or 1 for k, d in enumerate(i.problem.candidates)
    }
    support = {d: 1 / (1 + math.exp(-0.6 * (2 * v - 3))) for d, v in votes.items()}
    majority = tuple(d for d, v in votes.items() if v >= 2)
    problem = replace(i.problem, findings=tuple(f for f in i.problem.findings if not (f.is_pair and f.bars)))
    r = refine(problem, support, majority, i.grades, NOTHING)
    assert r.drugs == tuple(d for d in majority if d not in problem.barred)


def test_a_tie_goes_to_the_higher_grade_then_the_smaller_list_then_names() -> None:
    """The order of ties, one rule after the other."""
    two = Problem(("a", "b"), (), (pair("a", "b", Severity.contraindicated),))
    assert alike(two, b=0.9, a=0.8) == ("b",)
    assert alike(two, b=0.8, a=0.8) == ("a",)
    assert alike(two, p=0.5, b=0.1) == ("b",)
    assert alike(Problem(("a", "b")), p=0.5) == ()
    assert alike(two, b=0.1 + 0.2, a=0.3) == ("a",)  # 0.30000000000000004 is no higher grade
    close = {"a": 0.7, "b": 0.7 + 5e-10}
    assert refine(two, close, (), {"a": 1.0}).drugs == ("a",)
    assert refine(two, {**close, "b": 0.7 + 2e-9}, (), {"a": 1.0}).drugs == ("b",)
    four = Problem(
        ("a", "b", "c", "d"), (), tuple(pair(x, y, Severity.contraindicated) for x in "ad" for y in "bc")
    )
    assert alike(four) == ("a", "d")  # before (b, c)


def test_allergy_and_worst_pairs_hold_at_every_dial() -> None:
    """No dial and no support keeps a barred drug, or one barred beside a current drug."""
    problem = Problem(
        ("amoxicillin", "nitroglycerin", "sildenafil", "tadalafil"),
        ("isosorbide",),
        (
            allergy("amoxicillin"),
            pair("tadalafil", "isosorbide", Severity.contraindicated),
            pair("nitroglycerin", "sildenafil", Severity.contraindicated),
        ),
    )
    assert alike(problem, NOTHING, p=0.999, sildenafil=2, nitroglycerin=1) == ("sildenafil",)


def test_what_the_patient_takes_is_fixed() -> None:
    """A pair of current drugs costs nothing; a candidate taken already meets others whether listed or not."""
    both = Problem(("a",), ("a", "b"), (pair("a", "b", Severity.contraindicated),))
    assert alike(both) == ("a",)
    met = Problem(("a", "c"), ("a",), (pair("a", "c"),))
    assert alike(met) == ("a",)
    assert alike(met, p=0.4) == ()


def test_conditions_count_once_and_not_where_treated_already() -> None:
    """κ brings in one drug for an untreated condition, none for one that a current drug treats."""
    treats = dict.fromkeys(("a", "b", "c"), ("gout",))
    assert alike(Problem(("a", "b"), treats=treats), Dials(1, 0, 0.2), p=0.4, b=1) == ("b",)
    assert alike(Problem(("a", "b"), ("c",), treats=treats), Dials(1, 0, 0.2), p=0.4) == ()


def test_no_feasible_list_is_said_and_an_empty_best_list_is_feasible() -> None:
    """Infeasible means that every non-empty list is, not that the empty one is the best."""
    barred = refine(Problem(("a", "b"), (), (allergy("a"), allergy("b"))), {"a": 0.9, "b": 0.9}, ["a"], {})
    assert (barred.drugs, barred.feasible) == ((), False)
    unwanted = refine(Problem(("a", "b"), (), (allergy("a"),)), {"a": 0.9, "b": 0.1}, ["a"], {})
    assert (unwanted.drugs, unwanted.feasible) == ((), True)
    assert refine(Problem(()), {}, (), {}).feasible


def test_the_utility_of_an_infeasible_start_follows_the_same_formula() -> None:
    """A barred pair counts its severity, a barred drug its support alone."""
    problem = Problem(("a", "b", "c"), (), (allergy("a"), pair("b", "c", Severity.contraindicated)))
    r = refine(problem, {"a": 0.9, "b": 0.8, "c": 0.7}, ["a", "b", "c"], {}, Dials(2, 0, 0))
    assert r.start.support == pytest.approx(0.9)
    assert r.start.severity == -2
    assert r.drugs == ("b",)


@pytest.mark.parametrize("value", [-0.1, 1001, 1e20, math.nan, math.inf])
def test_a_dial_out_of_range_is_refused(value: float) -> None:
    """The error names the dial."""
    with pytest.raises(SettingsError, match="dial same_class"):
        Dials(same_class=value)


def test_missing_support_and_unsorted_candidates_are_refused() -> None:
    """What cannot be refined is said with its drug."""
    with pytest.raises(ValueError, match=r"no support in \[0, 1\] for b"):
        refine(Problem(("a", "b")), {"a": 0.5}, (), {})
    with pytest.raises(ValueError, match="sorted"):
        Problem(("b", "a"))


def test_json_and_back_is_the_same_value() -> None:
    """Problems and results survive JSON to the last bit."""
    for seed in range(20):
        i = instance(seed)
        r = i.refined()  # its problem has looked up what it derives
        assert Problem.from_json(json.loads(json.dumps(i.problem.to_json()))) == i.problem
        assert Refined.from_json(json.loads(json.dumps(r.to_json()))) == r
        assert set(i.problem.to_json()) == {"candidates", "current", "findings", "knowledge", "treats"}


def test_the_same_problem_gives_the_same_bits_in_every_process() -> None:
    """No order of a set or a hash reaches the result."""
    code = (
        "import hashlib, json\n"
        "from benchmarks.refinement import instance\n"
        "some = [instance(seed, most=18, density=0.3) for seed in range(8)]\n"
        "text = json.dumps([[i.problem.to_json(), i.refined().to_json()] for i in some])\n"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": salt},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(digests) == 1
