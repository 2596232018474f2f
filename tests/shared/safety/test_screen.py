"""The whole check of a list: every kind of finding, in order, each once; more facts never hide one."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.medications.classes import classes
from shared.safety.patient import Patient
from shared.safety.rules import builtin, load
from shared.safety.screen import check

DRUGS = sorted({drug for held in classes().values() for drug in held})
ALLERGENS = [*DRUGS, *classes(), "unknown:0123456789ab"]
PATIENT = Patient(
    age=72,
    sex="female",
    pregnant=False,
    egfr=40,
    allergies=frozenset({"penicillin"}),
    current=("warfarin", "atorvastatin", "aspirin"),
    conditions=frozenset({"asthma", "peptic_ulcer"}),
)
lists = st.lists(st.sampled_from(DRUGS), max_size=6, unique=True)
patients = st.builds(
    Patient,
    age=st.none() | st.floats(0, 100),
    pregnant=st.none() | st.booleans(),
    egfr=st.none() | st.floats(5, 120),
    allergies=st.frozensets(st.sampled_from(ALLERGENS), max_size=3),
    current=lists.map(tuple),
    conditions=st.frozensets(st.sampled_from(["asthma", "heart_failure", "long_qt", "gout"]), max_size=2),
)


def test_every_kind_is_told_most_severe_first():
    """An allergy, interactions, duplicates and limits of one list, sorted, with what they meet."""
    found = check(["ibuprofen", "simvastatin", "amoxicillin", "lorazepam"], PATIENT, builtin())
    assert {"allergy", "interaction", "duplicate", "renal", "age", "condition"} <= {f.kind for f in found}
    weights = [f.severity.weight for f in found]
    assert weights == sorted(weights, reverse=True)
    told = {(f.kind, f.drug, f.other) for f in found}
    assert {
        ("allergy", "amoxicillin", "penicillin"),
        ("interaction", "ibuprofen", "warfarin"),
        ("duplicate", "simvastatin", "atorvastatin"),
        ("condition", "ibuprofen", "peptic_ulcer"),
        ("interaction", "aspirin", "warfarin"),  # both taken already
    } <= told


def test_nothing_known_of_the_patient():
    """Without a patient only the list meets itself."""
    assert check([], Patient(), builtin()) == ()
    assert {f.kind for f in check(["lisinopril", "enalapril"], Patient(), builtin())} <= {
        "interaction",
        "duplicate",
    }


def test_an_unknown_drug_meets_the_same_unknown_allergen():
    """A digest is barred by an allergy to itself, and by nothing else."""
    unknown = "unknown:0123456789ab"
    (told,) = check([unknown], Patient(allergies=frozenset({unknown, "penicillin"})), builtin())
    assert told.kind == "allergy"
    assert told.bars
    assert check([unknown], PATIENT, builtin()) == check([], PATIENT, builtin())


@given(lists, patients, st.sampled_from(ALLERGENS))
@settings(max_examples=60, deadline=None)
def test_another_allergy_never_removes_a_finding(drugs: list[str], patient: Patient, allergen: str):
    """Knowing more of a patient's allergies only adds."""
    more = replace(patient, allergies=patient.allergies | {allergen})
    assert set(check(drugs, patient, builtin())) <= set(check(drugs, more, builtin()))


@given(lists, patients)
@settings(max_examples=60, deadline=None)
def test_order_of_the_list_does_not_matter_and_pairs_come_once(drugs: list[str], patient: Patient):
    """The same set of drugs gives the same findings, and a pair one finding of a kind."""
    found = check(drugs, patient, builtin())
    assert found == check(drugs[::-1], patient, builtin())
    pairs = [(f.kind, frozenset((f.drug, f.other))) for f in found if f.is_pair]
    assert len(pairs) == len(set(pairs))
    about = set(drugs) | set(patient.current)
    assert all(f.drug in (about if f.is_pair else set(drugs)) for f in found)


@given(lists, lists, patients)
@settings(max_examples=60, deadline=None)
def test_a_longer_list_keeps_what_bars(drugs: list[str], more: list[str], patient: Patient):
    """A barred drug stays barred whatever else is ordered."""
    barred = {(f.drug, f.other) for f in check(drugs, patient, builtin()) if f.kind == "allergy"}
    longer = check([*drugs, *(d for d in more if d not in drugs)], patient, builtin())
    assert barred <= {(f.drug, f.other) for f in longer if f.kind == "allergy"}


def test_a_site_switches_a_rule_off_and_adds_its_own(tmp_path):
    """Site rules act on every kind; the allergen itself no site can switch off."""
    path = tmp_path / "site.csv"
    path.write_text(
        "id,kind,drug,with,when,severity,effect,mechanism,advice,source\n"
        "condition.nsaid_ulcer,,,,,off,,,,\n"
        "site-1,age,@statin,,age>=70,major,falls,ours,,site\n",
        encoding="utf-8",
    )
    found = check(["ibuprofen", "simvastatin", "amoxicillin"], PATIENT, load(path))
    assert ("ibuprofen", "peptic_ulcer") not in {(f.drug, f.other) for f in found}
    assert any(f.rule == "site-1" and f.drug == "simvastatin" for f in found)
    assert any(f.kind == "allergy" and f.drug == "amoxicillin" for f in found)
