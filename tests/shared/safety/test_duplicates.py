"""Duplicates: one ingredient twice, and two of a class of which nobody takes two."""

import pytest

from shared.errors import KnowledgeError
from shared.medications import normalise
from shared.safety import duplicates as module
from shared.safety.duplicates import duplicates
from shared.safety.finding import Severity

TWO = [
    ("lisinopril", "enalapril", "ace_inhibitor"),
    ("lisinopril", "losartan", "ras_inhibitor"),
    ("atorvastatin", "simvastatin", "statin"),
    ("omeprazole", "pantoprazole", "ppi"),
    ("sertraline", "fluoxetine", "ssri"),
    ("sertraline", "venlafaxine", "serotonin_reuptake_inhibitor"),
    ("lorazepam", "alprazolam", "benzodiazepine"),
    ("zolpidem", "lorazepam", "sedative_hypnotic"),
    ("metoprolol", "carvedilol", "beta_blocker"),
    ("amlodipine", "nifedipine", "dihydropyridine"),
    ("ibuprofen", "naproxen", "nsaid"),
    ("apixaban", "warfarin", "anticoagulant"),
    ("glipizide", "glyburide", "sulfonylurea"),
    ("semaglutide", "liraglutide", "glp1_agonist"),
    ("spironolactone", "eplerenone", "potassium_sparing_diuretic"),
    ("morphine", "oxycodone", "opioid"),
]
REASONED = [
    ("warfarin", "enoxaparin"),  # bridging
    ("insulin glargine", "insulin lispro"),  # basal and mealtime
    ("albuterol", "salmeterol"),  # reliever and long-acting
    ("aspirin", "clopidogrel"),  # dual antiplatelet treatment
    ("furosemide", "hydrochlorothiazide"),
    ("nitroglycerin", "isosorbide mononitrate"),
    ("fentanyl", "oxycodone"),  # patch and breakthrough
    ("ethinyl estradiol", "levonorgestrel"),  # one contraceptive pill
    ("aspirin", "ibuprofen"),  # an interaction, no duplicate of the low dose
    ("sacubitril", "valsartan"),
    ("levodopa", "carbidopa"),
]


@pytest.mark.parametrize(("a", "b", "class_"), TWO)
def test_two_of_a_class(a: str, b: str, class_: str):
    """Two of a class are told once, in the list and beside what is taken."""
    (within,) = duplicates([a, b], [])
    assert {within.drug, within.other} == {a, b}
    assert within.rule == f"duplicate.{class_}"
    (beside,) = duplicates([b], [a])
    assert (beside.drug, beside.other) == (b, a)
    (taken,) = duplicates([], [a, b])
    assert {taken.drug, taken.other} == {a, b}


@pytest.mark.parametrize(("a", "b"), REASONED)
def test_pairs_with_a_reason(a: str, b: str):
    """What is given together on purpose is no duplicate."""
    assert duplicates([a, b], []) == []


def test_one_ingredient_twice():
    """Twice in the list is worse than ordering what is taken already; unknown drugs count too."""
    (twice,) = duplicates(["acetaminophen", "acetaminophen"], [])
    (taken,) = duplicates(["unknown:0123456789ab"], ["unknown:0123456789ab"])
    assert twice.drug == twice.other == "acetaminophen"
    assert twice.severity is Severity.moderate
    assert taken.severity is Severity.minor
    assert duplicates([], ["metformin"]) == []


def test_local_use_makes_a_duplicate_minor():
    """A gel beside a tablet is lesser, and says why."""
    orders = {
        "diclofenac": [normalise("diclofenac gel topical")],
        "ibuprofen": [normalise("ibuprofen tablet")],
    }
    (told,) = duplicates(["diclofenac", "ibuprofen"], [], orders)
    assert told.severity is Severity.minor
    assert told.modifiers


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nothing,,minor,x,y,z", "no class"),
        ("statin,,grave,x,y,z", "grave"),
        ("statin,warfarin+atorvastatin,minor,x,y,z", "except"),
        ("statin,,minor,,y,z", "effect"),
    ],
)
def test_bad_lines_are_refused(line: str, reason: str, tmp_path, monkeypatch):
    """A bad line of the table is told with its number and reason."""
    (tmp_path / module.TABLE).write_text(f"{','.join(module.COLUMNS)}\n{line}\n", encoding="utf-8")
    monkeypatch.setattr(module.resources, "files", lambda _: tmp_path)
    with pytest.raises(KnowledgeError, match=f"line 2: .*{reason}"):
        module._rows.__wrapped__()
