"""Limits: pregnancy, kidney function, age and conditions, with the severity that labels give them."""

import pytest

from shared.medications import normalise
from shared.medications.indications import known_conditions
from shared.safety.finding import Severity
from shared.safety.limits import limits
from shared.safety.patient import Patient
from shared.safety.rules import builtin

C, MAJOR, MODERATE, MINOR = Severity.contraindicated, Severity.major, Severity.moderate, Severity.minor


def severity(drug: str, kind: str, **facts: object) -> Severity | None:
    """How severe the finding of a kind is for a drug and a patient; None without one."""
    told = limits([drug], Patient(**facts), builtin())
    kinds = [f.severity for f in told if f.kind == kind]
    assert len(kinds) <= 1
    return kinds[0] if kinds else None


@pytest.mark.parametrize(
    ("drug", "expected"),
    [
        ("isotretinoin", C),
        ("methotrexate", C),
        ("lisinopril", C),
        ("losartan", C),
        ("misoprostol", C),
        ("finasteride", C),
        ("leflunomide", C),
        ("warfarin", C),
        ("atorvastatin", MAJOR),
        ("valproate", MAJOR),
        ("mycophenolate", MAJOR),
        ("ciprofloxacin", MAJOR),
        ("doxycycline", MAJOR),
        ("ibuprofen", MAJOR),
        ("lithium", MAJOR),
        ("nitrofurantoin", MINOR),
        ("acetaminophen", None),
        ("labetalol", None),
        ("cephalexin", None),
    ],
)
def test_pregnancy(drug: str, expected: Severity | None):
    """Told in pregnancy only; not known is no pregnancy."""
    assert severity(drug, "pregnancy", pregnant=True) is expected
    assert severity(drug, "pregnancy", pregnant=False) is None
    assert severity(drug, "pregnancy") is None


def test_warfarin_with_a_mechanical_valve_is_not_barred_in_pregnancy():
    """The rule that asks for more decides: the label's one exception."""
    valve = frozenset({"mechanical_valve"})
    assert severity("warfarin", "pregnancy", pregnant=True, conditions=valve) is MAJOR


@pytest.mark.parametrize(
    ("drug", "steps"),
    [
        ("metformin", [(60, None), (45, None), (44, MODERATE), (30, MODERATE), (29, C)]),
        ("ibuprofen", [(60, None), (59, MODERATE), (29, MAJOR)]),
        ("nitrofurantoin", [(45, None), (44, MINOR), (29, C)]),
        ("dabigatran", [(50, None), (49, MINOR), (29, MAJOR)]),
        ("gabapentin", [(60, None), (59, MINOR), (29, MODERATE)]),
        ("alendronate", [(35, None), (34, MAJOR)]),
        ("sotalol", [(60, None), (59, MAJOR), (39, C)]),
        ("digoxin", [(60, None), (59, MODERATE), (29, MAJOR)]),
    ],
)
def test_renal_steps(drug: str, steps: list[tuple[float, Severity | None]]):
    """Each limit holds below its number and not at it; the deepest one decides."""
    assert [severity(drug, "renal", egfr=egfr) for egfr, _ in steps] == [told for _, told in steps]
    assert severity(drug, "renal") is None


@pytest.mark.parametrize(
    ("drug", "steps"),
    [
        ("aspirin", [(15, MAJOR), (40, None)]),
        ("codeine", [(11, C), (12, MAJOR), (18, None)]),
        ("tramadol", [(11, C), (17, MAJOR), (18, None)]),
        ("tetracycline", [(7, MAJOR), (8, None)]),
        ("promethazine", [(1, C), (2, MODERATE), (30, None), (65, MODERATE)]),
        ("ciprofloxacin", [(17, MAJOR), (18, None), (65, MINOR)]),
        ("diphenhydramine", [(64, None), (65, MODERATE)]),
        ("amitriptyline", [(64, None), (65, MODERATE)]),
        ("lorazepam", [(64, None), (65, MODERATE)]),
        ("glyburide", [(64, None), (65, MODERATE)]),
        ("ceftriaxone", [(0.02, MAJOR), (0.5, None)]),
    ],
)
def test_age_steps(drug: str, steps: list[tuple[float, Severity | None]]):
    """Limits for children hold below an age, the Beers list from 65 on."""
    assert [severity(drug, "age", age=age) for age, _ in steps] == [told for _, told in steps]
    assert severity(drug, "age") is None


@pytest.mark.parametrize(
    ("drug", "condition", "expected"),
    [
        ("ibuprofen", "peptic_ulcer", MAJOR),
        ("naproxen", "heart_failure", MAJOR),
        ("propranolol", "asthma", C),
        ("metoprolol", "asthma", MODERATE),
        ("diltiazem", "heart_failure", MAJOR),
        ("metoclopramide", "parkinsonism", MAJOR),
        ("bupropion", "epilepsy", C),
        ("sumatriptan", "coronary_disease", C),
        ("ethinyl estradiol", "venous_thromboembolism", C),
        ("ethinyl estradiol", "migraine_with_aura", C),
        ("pioglitazone", "heart_failure", C),
        ("oxybutynin", "angle_closure_glaucoma", C),
        ("oxybutynin", "prostatic_hyperplasia", MODERATE),
        ("lisinopril", "angioedema", C),
        ("sulfamethoxazole", "g6pd_deficiency", MAJOR),
        ("flecainide", "coronary_disease", C),
        ("ondansetron", "long_qt", MAJOR),
        ("methylphenidate", "long_qt", MAJOR),
        ("enoxaparin", "heparin_induced_thrombocytopenia", C),
        ("dabigatran", "mechanical_valve", C),
        ("quetiapine", "parkinsonism", MINOR),  # the drug's own rule before its class's
        ("haloperidol", "parkinsonism", C),
        ("cetirizine", "long_qt", None),
    ],
)
def test_conditions(drug: str, condition: str, expected: Severity | None):
    """A drug meets a condition as labels and guidelines say."""
    assert severity(drug, "condition", conditions=frozenset({condition})) is expected


def test_every_condition_of_a_rule_can_be_found():
    """A rule about a condition that no text gives would be silent for ever."""
    named = {rule.other for rule in builtin().rules if rule.kind == "condition"}
    named |= {str(term.value) for r in builtin().rules for term in r.when if term.fact == "condition"}
    assert named <= known_conditions()


def test_local_use_is_lesser_unless_a_rule_says_otherwise():
    """A gel is lesser than a tablet; timolol drops are as bad in asthma, and the worst order counts."""
    patient = Patient(egfr=25, conditions=frozenset({"asthma"}))
    gel, tablet = normalise("diclofenac gel topical"), normalise("diclofenac tablet 50 mg oral")
    drops = normalise("timolol 0.5 % ophthalmic drops")

    def worst(drug, *orders):
        return max(f.severity.weight for f in limits([drug], patient, builtin(), (), {drug: orders}))

    assert worst("diclofenac", gel) == MINOR.weight
    assert worst("diclofenac", gel, tablet) == worst("diclofenac", tablet) == MAJOR.weight
    assert worst("timolol", drops) == C.weight


def test_every_rule_says_what_and_where_from():
    """Findings name effect, mechanism, advice, source and the fact that they meet."""
    patient = Patient(age=80, pregnant=None, egfr=20, conditions=known_conditions())
    drugs = {rule.drug for rule in builtin().rules if not rule.drug.startswith("@")}
    told = limits(drugs, patient, builtin())
    assert len(told) > 100
    assert all(f.other and f.effect and f.mechanism and f.source and f.advice and f.rule for f in told)
