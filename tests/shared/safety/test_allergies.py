"""Allergies: the same ingredient always bars, and classes cross-react as their side chains do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.medications import ingredients
from shared.medications.classes import classes, members
from shared.safety.allergies import allergies
from shared.safety.finding import Severity
from shared.safety.rules import Knowledge, builtin

CLASSES = sorted(classes())
DRUGS = sorted({drug for held in classes().values() for drug in held})


def found(drug: str, allergen: str):
    """The one finding of a drug and an allergen, or None."""
    told = allergies([drug], frozenset({allergen}), builtin())
    assert len(told) <= 1
    return told[0] if told else None


BARRED = [
    ("amoxicillin", "penicillin"),
    ("piperacillin", "amoxicillin"),
    ("cephalexin", "amoxicillin"),
    ("cephalexin", "penicillin"),
    ("cefadroxil", "ampicillin"),
    ("amoxicillin", "cephalexin"),
    ("cefepime", "ceftriaxone"),
    ("cefpodoxime", "cefotaxime"),
    ("aztreonam", "ceftazidime"),
    ("ceftazidime", "aztreonam"),
    ("sulfasalazine", "sulfamethoxazole"),
    ("sulfamethoxazole", "sulfonamide"),
    ("naproxen", "aspirin"),
    ("aspirin", "nsaid"),
    ("aspirin", "ibuprofen"),
    ("ketorolac", "nsaid"),
    ("oxycodone", "morphine"),
    ("clarithromycin", "azithromycin"),
    ("levofloxacin", "ciprofloxacin"),
    ("minocycline", "doxycycline"),
    ("enalapril", "lisinopril"),
    ("sacubitril", "lisinopril"),
    ("fosphenytoin", "phenytoin"),
    ("enoxaparin", "heparin"),
    ("esomeprazole", "omeprazole"),
    ("clavulanate", "penicillin"),
    ("sulbactam", "amoxicillin"),
    ("tazobactam", "penicillin"),
]
LESSER = [
    ("ceftriaxone", "amoxicillin", Severity.moderate),
    ("cefazolin", "penicillin", Severity.minor),
    ("cefazolin", "ceftriaxone", Severity.minor),
    ("meropenem", "penicillin", Severity.minor),
    ("furosemide", "sulfonamide", Severity.minor),
    ("hydrochlorothiazide", "sulfamethoxazole", Severity.minor),
    ("celecoxib", "sulfonamide", Severity.moderate),
    ("celecoxib", "ibuprofen", Severity.major),
    ("acetaminophen", "aspirin", Severity.minor),
    ("fentanyl", "morphine", Severity.minor),
    ("tramadol", "codeine", Severity.moderate),
    ("losartan", "lisinopril", Severity.minor),
    ("phenytoin", "carbamazepine", Severity.major),
    ("isosorbide mononitrate", "nitroglycerin", Severity.major),
]
NOTHING = [
    ("aztreonam", "penicillin"),
    ("azithromycin", "penicillin"),
    ("clindamycin", "sulfonamide"),
    ("levetiracetam", "phenytoin"),
    ("lidocaine", "benzocaine"),
    ("warfarin", "unknown:0123456789ab"),
]


@pytest.mark.parametrize(("drug", "allergen"), BARRED)
def test_cross_reactive_drugs_are_barred(drug: str, allergen: str):
    """Side chains, classes and metabolites that cross-react bar, with a source."""
    told = found(drug, allergen)
    assert told is not None
    assert told.kind == "allergy"
    assert told.bars
    assert told.other == allergen
    assert told.mechanism
    assert told.source


@pytest.mark.parametrize(("drug", "allergen", "severity"), LESSER)
def test_lesser_cross_reactivity_is_told_and_bars_nothing(drug: str, allergen: str, severity: Severity):
    """What may be given with care is a finding of its own kind."""
    told = found(drug, allergen)
    assert told is not None
    assert told.kind == "cross_allergy"
    assert told.severity is severity
    assert not told.bars


@pytest.mark.parametrize(("drug", "allergen"), NOTHING)
def test_drugs_without_cross_reactivity(drug: str, allergen: str):
    """Another structure is no finding."""
    assert found(drug, allergen) is None


@given(st.sampled_from(CLASSES), st.data())
@settings(max_examples=150)
def test_no_member_of_a_barred_class_passes(class_: str, data: st.DataObject):
    """An allergen named as a class bars each of its members."""
    told = found(data.draw(st.sampled_from(sorted(members(class_)))), class_)
    assert told is not None
    assert told.kind == "allergy"
    assert told.bars


@given(st.one_of(st.sampled_from(DRUGS), st.text(min_size=3).map(lambda t: ingredients(t, b"key")[0])))
@settings(max_examples=150)
def test_the_same_ingredient_always_bars(drug: str):
    """Also of a drug that no table knows, and without any rule."""
    told = allergies([drug], frozenset({drug}), Knowledge((), "0", ""))
    assert [f.bars and f.kind == "allergy" for f in told] == [True]
