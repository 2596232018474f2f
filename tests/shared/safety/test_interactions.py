"""Interactions: pairs that must be found, pairs that must not, precedence, routes, modifiers, properties."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.medications import ingredients
from shared.medications.order import normalise
from shared.safety.finding import Severity
from shared.safety.interactions import LOCAL_USE, interactions
from shared.safety.patient import Patient
from shared.safety.rule import covered
from shared.safety.rules import builtin, load

HEADER = "id,kind,drug,with,when,severity,effect,mechanism,advice,source\n"


def pairs():
    """The table's rows: two orders, and a severity or "" where nothing may be found."""
    lines = (Path(__file__).parent / "interacting_pairs.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return [(row["first"], row["second"], row["severity"]) for row in rows]


def found(*texts, current=(), patient=None, knowledge=None):
    """The findings about orders as people write them."""
    orders = {}
    for text in (*texts, *current):
        order = normalise(text)
        for drug in order.ingredients:
            orders.setdefault(drug, []).append(order)
    listed, taken = ({d for text in group for d in ingredients(text)} for group in (texts, current))
    return interactions(listed, taken, patient or Patient(), knowledge or builtin(), orders)


def one(*texts, **more):
    """The only finding."""
    (finding,) = found(*texts, **more)
    return finding


def test_the_table_is_large_enough():
    """At least 60 interacting pairs beside the issue's own, and 40 harmless ones."""
    assert sum(bool(severity) for *_, severity in pairs()) >= 15 * 2 + 60
    assert sum(not severity for *_, severity in pairs()) >= 40


@pytest.mark.parametrize(("first", "second", "severity"), pairs())
def test_pairs(first, second, severity):
    """Each pair is found with its severity in either order, listed or current; a harmless one is not."""
    for a, b in ((first, second), (second, first)):
        told = [found(a, b), found(a, current=[b]), found(current=[a, b])]
        if first == "simvastatin 40 mg" and severity == "moderate":
            severity = "major"  # more simvastatin than its label allows with amlodipine
        worst = [max((f.severity.weight for f in findings), default=0.0) for findings in told]
        assert worst == [Severity(severity).weight if severity else 0.0] * 3


def test_a_finding_says_everything():
    """A finding has effect, mechanism, source and rule; the drug of the list stands first."""
    finding = one("ibuprofen", current=["warfarin"])
    assert (finding.drug, finding.other) == ("ibuprofen", "warfarin")
    assert one("warfarin", current=["ibuprofen"]).drug == "warfarin"
    assert all([finding.effect, finding.mechanism, finding.source, finding.advice, finding.rule])


def test_dose_decides():
    """Amlodipine with simvastatin is major above the label's 20 mg, and moderate where no dose is told."""
    assert one("simvastatin 20 mg", "amlodipine").severity is Severity.moderate
    assert one("simvastatin", "amlodipine").severity is Severity.moderate
    assert one("simvastatin 40 mg", "amlodipine").severity is Severity.major


def test_kidney_and_condition_decide():
    """Reduced kidney function and diabetes turn a major pair into one that the label forbids."""
    assert one("colchicine", "clarithromycin").severity is Severity.major
    assert one("colchicine", "clarithromycin", patient=Patient(egfr=40)).bars
    assert not one("losartan", "aliskiren").bars
    assert one("losartan", "aliskiren", patient=Patient(conditions=frozenset({"type_2_diabetes"}))).bars


def test_a_third_drug_raises():
    """An NSAID with an ACE inhibitor is worse beside a diuretic."""
    assert one("lisinopril", "naproxen").severity is Severity.moderate
    severities = {
        frozenset((f.drug, f.other)): f.severity for f in found("lisinopril", "naproxen", "furosemide")
    }
    assert severities[frozenset(("lisinopril", "naproxen"))] is Severity.major


def test_topical_use_is_lesser():
    """A gel on the skin is minor; the same drug by mouth as well is not."""
    assert one("warfarin", "diclofenac 1% topical gel").severity is Severity.minor
    assert one("warfarin", "diclofenac 50 mg po").severity is Severity.major
    both = one("warfarin", "diclofenac 1% topical gel", "diclofenac 50 mg po")
    assert both.severity is Severity.major


def test_local_use_never_bars_but_through_the_skin():
    """A cream lowers a rule that speaks of tablets and says so; nitroglycerin ointment acts in the body."""
    cream = one("simvastatin", "ketoconazole 2% cream")
    assert cream.severity is Severity.minor
    assert LOCAL_USE in cream.modifiers
    assert one("sildenafil", "nitroglycerin 2% ointment topical").bars


def test_a_rule_that_names_the_route_decides():
    """Midazolam by vein is not forbidden as by mouth, and vaginal miconazole is not harmless."""
    assert one("midazolam 2 mg IV", "ritonavir").severity is Severity.major
    assert one("midazolam 2 mg po", "ritonavir").bars
    assert one("miconazole vaginal cream", "warfarin").severity is Severity.major
    assert "skin" in one("warfarin", "diclofenac 1% topical gel").effect


def test_modifiers_are_named():
    """Age, history, corticosteroid and gastroprotection are named beside the pair, and do not change it."""
    patient = Patient(age=72, conditions=frozenset({"peptic_ulcer", "gi_bleeding"}))
    findings = found("ibuprofen", current=["warfarin", "dexamethasone", "omeprazole"], patient=patient)
    finding = next(f for f in findings if {f.drug, f.other} == {"ibuprofen", "warfarin"})
    assert set(finding.modifiers) >= {
        "age 65 or over raises it",
        "a history of peptic ulcer raises it",
        "a history of gastrointestinal bleeding raises it",
        "systemic corticosteroid raises it",
        "proton pump inhibitor lowers it (gastroprotection)",
    }
    assert finding.severity is one("ibuprofen", "warfarin").severity
    assert one("ibuprofen", "warfarin").modifiers == ()


def test_an_explicit_rule_beats_a_class(tmp_path):
    """A site's rule between two ingredients decides against a class rule, whichever is more severe."""
    path = tmp_path / "site.csv"
    path.write_text(
        HEADER + "s,interaction,meloxicam,warfarin,,moderate,bleeding,ours,,site\n", encoding="utf-8"
    )
    assert one("warfarin", "meloxicam", knowledge=load(path)).severity is Severity.moderate
    assert one("warfarin", "naproxen", knowledge=load(path)).severity is Severity.major


def test_a_rule_switched_off_is_gone(tmp_path):
    """Without its rule, and no class rule behind it, a pair is not found."""
    path = tmp_path / "site.csv"
    path.write_text(HEADER + "ddi-clopidogrel--omeprazole,,,,,off,,,,\n", encoding="utf-8")
    assert found("clopidogrel", "omeprazole", knowledge=load(path)) == []


def test_unknown_drugs_and_repeats():
    """Unknown drugs have no interactions, and a drug does not interact with itself."""
    assert found("foozumab", "warfarin") == []
    assert found("warfarin", current=["Coumadin"]) == []


KNOWN = sorted({d for r in builtin().rules if r.kind == "interaction" for d in covered(r.drug)})
SOME = st.sets(st.sampled_from(KNOWN), max_size=8)
PATIENTS = st.builds(
    Patient,
    age=st.none() | st.floats(0, 100),
    egfr=st.none() | st.floats(5, 120),
    conditions=st.frozensets(st.sampled_from(["peptic_ulcer", "long_qt", "type_2_diabetes"])),
)


@settings(max_examples=100, deadline=None)
@given(SOME, SOME, PATIENTS)
def test_where_a_drug_stands_does_not_matter(drugs, current, patient):
    """List and current medications swapped, or given in another order, tell the same pairs alike."""

    def told(listed, taken):
        return {
            (frozenset((f.drug, f.other)), f.severity, f.rule, f.modifiers)
            for f in interactions(listed, taken, patient, builtin())
        }

    assert told(drugs, current) == told(current, drugs)
    assert told(sorted(drugs), sorted(current)) == told(sorted(drugs)[::-1], sorted(current)[::-1])
    assert told(drugs, current) == told(drugs | current, set())


@settings(max_examples=100, deadline=None)
@given(SOME, st.sampled_from(KNOWN), PATIENTS)
def test_another_drug_removes_no_finding(drugs, drug, patient):
    """Every pair found stays found, no less severe, when a drug is added; each pair is told once."""
    before = interactions(drugs, (), patient, builtin())
    after = {frozenset((f.drug, f.other)): f for f in interactions(drugs | {drug}, (), patient, builtin())}
    assert len(after) == len(interactions(drugs | {drug}, (), patient, builtin()))
    for finding in before:
        assert after[frozenset((finding.drug, finding.other))].severity.weight >= finding.severity.weight
