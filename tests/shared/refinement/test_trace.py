"""The trace of refinement: its sum, its order, exchanges, and the words for them."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.refinement import instance, utility
from shared.refinement import Dials, Problem, Refined, in_words, refine
from shared.refinement.utility import Utility
from shared.safety.finding import Finding, Severity

TERMS = ("support", "severity", "same_class", "treats")


def interaction(drug: str, other: str, severity: Severity, effect: str = "major bleeding") -> Finding:
    """A finding of two drugs with a source."""
    return Finding("interaction", drug, other, severity, effect, "", f"FDA label: {other}", f"{drug}-{other}")


def words(refined: Refined) -> list[str]:
    """The trace in words."""
    return [in_words(edit) for edit in refined.edits]


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_gains_sum_up_by_term_and_every_drug_is_touched_once(seed: int) -> None:
    """Σ gains is U(L*) − U(L₀) to 1e-12, in all and by term, and the edits lead from L₀ to L*."""
    i = instance(seed, most=14)
    r = i.refined()
    assert abs(math.fsum(e.gain.total for e in r.edits) - (r.utility.total - r.start.total)) < 1e-12
    assert abs(r.utility.total - utility(i, r.drugs)) < 1e-12
    assert abs(r.start.total - utility(i, i.majority)) < 1e-12
    for term in TERMS:
        gained = math.fsum(getattr(e.gain, term) for e in r.edits)
        assert abs(gained - (getattr(r.utility, term) - getattr(r.start, term))) < 1e-12
    touched = [drug for e in r.edits for drug in (*e.removed, *e.added)]
    assert len(touched) == len(set(touched))
    removed, added = ({d for e in r.edits for d in getattr(e, side)} for side in ("removed", "added"))
    assert removed == {*i.majority} - {*r.drugs}
    assert added == {*r.drugs} - {*i.majority}


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_only_what_is_barred_leaves_at_a_loss(seed: int) -> None:
    """Barred drugs leave first; no other edit loses, and none brings in what is barred beside the others."""
    i = instance(seed, most=12)
    r = i.refined()
    u = Utility(i.problem, i.support, i.dials)
    now = u.code(i.majority)
    for edit in r.edits:
        after = now ^ u.code((*edit.removed, *edit.added))
        assert u.bars(after) < u.bars(now) if u.bars(now) else u.bars(after) == 0
        assert u.bars(after) < u.bars(now) or edit.gain.total > -1e-9
        if u.bars(after) < u.bars(now):
            assert any(f.bars for f in edit.because)
        now = after


def test_largest_gain_first() -> None:
    """Edits that do not touch each other come in the order of their gains."""
    support = {"a": 0.45, "b": 0.2, "c": 0.9, "d": 0.6}
    r = refine(Problem(tuple("abcd")), support, ["a", "b"], {})
    assert [(*e.removed, *e.added) for e in r.edits] == [("c",), ("b",), ("d",), ("a",)]


def test_a_removal_that_loses_is_an_exchange_with_what_needs_it() -> None:
    """Neither step gains alone: one edit shows both, with the finding between them."""
    problem = Problem(
        ("apixaban", "metoprolol", "warfarin"),
        findings=(interaction("apixaban", "warfarin", Severity.contraindicated),),
        treats={"metoprolol": ("atrial_fibrillation",)},
    )
    support = {"apixaban": 0.86, "metoprolol": 0.71, "warfarin": 0.65}
    r = refine(problem, support, ["warfarin"], {})
    assert [e.kind for e in r.edits] == ["added", "exchanged"]
    assert words(r) == [
        "metoprolol added: support 0.71, treats atrial fibrillation",
        "apixaban added instead of warfarin: with apixaban, major bleeding (FDA label: warfarin)",
    ]


def test_one_addition_may_need_two_removals() -> None:
    """A drug that meets two others takes the place of both in one edit."""
    found = tuple(interaction("c", other, Severity.contraindicated) for other in ("a", "b"))
    r = refine(Problem(("a", "b", "c"), findings=found), {"a": 0.55, "b": 0.6, "c": 0.9}, ["a", "b"], {})
    (edit,) = r.edits
    assert (edit.kind, edit.removed, edit.added) == ("exchanged", ("a", "b"), ("c",))
    assert in_words(edit) == (
        "c added instead of a and b: a with c, major bleeding (FDA label: a); "
        "b with c, major bleeding (FDA label: b)"
    )


def test_an_exchange_for_the_sake_of_a_condition_has_no_finding() -> None:
    """Of two drugs for one condition one is enough: what each term gains by the exchange is said."""
    problem = Problem(("a", "b"), treats={"a": ("gout",), "b": ("gout", "pain")})
    r = refine(problem, {"a": 0.45, "b": 0.4}, ["a"], {}, Dials(1, 0, 0.2))
    assert words(r) == ["b added instead of a: support -0.05, treats +0.20, treats pain"]


def test_a_removal_says_what_it_meets() -> None:
    """Interactions with current drugs, allergies and low support are each said, the gravest first."""
    allergic = Finding(
        "allergy", "amoxicillin", "penicillin", Severity.major, "anaphylaxis", "", "label", "r"
    )
    problem = Problem(
        ("amoxicillin", "ibuprofen", "lisinopril", "loratadine"),
        ("spironolactone", "warfarin"),
        (
            interaction("ibuprofen", "spironolactone", Severity.moderate, "raised potassium"),
            interaction("ibuprofen", "warfarin", Severity.major),
            interaction("lisinopril", "spironolactone", Severity.minor),
            allergic,
        ),
    )
    support = {"amoxicillin": 0.86, "ibuprofen": 0.86, "lisinopril": 0.86, "loratadine": 0.35}
    r = refine(problem, support, list(support), {})
    assert r.drugs == ("lisinopril",)
    assert words(r) == [
        "amoxicillin removed: allergy to penicillin, anaphylaxis (label)",
        "ibuprofen removed: with warfarin, major bleeding (FDA label: warfarin); "
        "with spironolactone, raised potassium (FDA label: spironolactone)",
        "loratadine removed: support 0.35",
    ]
    assert r.edits[0].gain.total < 0
    assert [e.because for e in r.edits][2] == ()


def test_findings_explain_only_what_weighs() -> None:
    """At λ = 0 a drug leaves for its support: its interactions did not decide; many are counted, not told."""
    found = tuple(interaction("a", f"m{k}", Severity.major) for k in range(5))
    problem = Problem(("a",), tuple(f"m{k}" for k in range(5)), found)
    assert words(refine(problem, {"a": 0.4}, ["a"], {}, Dials(0, 0, 0))) == ["a removed: support 0.40"]
    (edit,) = refine(problem, {"a": 0.9}, ["a"], {}).edits
    assert len(edit.because) == 5
    assert in_words(edit).endswith("; and 2 more")
