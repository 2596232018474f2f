"""What is read of a patient: facts of the context, and allergies as people write them."""

import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panel.generate import vignettes
from shared.medications import ingredients, is_unknown
from shared.safety.allergens import allergens, told_in
from shared.safety.patient import Patient, patient_of
from shared.schemas import Vignette

ROOT = Path(__file__).parents[3]

TOLD = {
    "She is allergic to penicillin and takes warfarin.": {"penicillin"},
    "He is allergic to propranolol, which caused rash in the past.": {"propranolol"},
    "Penicillin allergy.": {"penicillin"},
    "Allergies: sulfa.": {"sulfonamide"},
    "Allergies: penicillin (rash), sulfa (hives); codeine - nausea. Takes warfarin.": {
        "penicillin",
        "sulfonamide",
        "codeine",
    },
    "Allergies:\n- PCN\n- sulfa drugs\nMedications: metformin": {"penicillin", "sulfonamide"},
    "Anaphylaxis to amoxicillin at the age of nine.": {"amoxicillin"},
    "She has no chronic illness and is allergic to aspirin.": {"aspirin"},
    "His mother says he is allergic to amoxicillin.": {"amoxicillin"},
    "Not allergic to penicillin but allergic to sulfa.": {"sulfonamide"},
    "Allergic to penicillin but not to cephalosporins.": {"penicillin"},
    "No known allergies except sulfa.": {"sulfonamide"},
    "NKDA other than codeine; takes lisinopril.": {"codeine"},
    "Documented amoxicillin-clavulanate allergy.": {"amoxicillin", "clavulanate"},
    "Penicillin- and sulfa-allergic.": {"penicillin", "sulfonamide"},
    "Lisinopril caused angioedema last year.": {"lisinopril"},
    "She developed hives after taking Augmentin.": {"amoxicillin", "clavulanate"},
    "He is penicillin-allergic and on metoprolol.": {"penicillin"},
    "Reports allergies to NSAIDs and codeine.": {"nsaid", "codeine"},
    "He was given amoxicillin for an ear infection and within minutes developed generalised hives.": {
        "amoxicillin"
    },
    "Drug allergies include Bactrim and Keflex.": {"sulfamethoxazole", "trimethoprim", "cephalexin"},
    "On lisinopril, penicillin allergy, asthma.": {"penicillin"},
    "On lisinopril, amoxicillin allergy, asthma.": {"amoxicillin"},
    "Intolerant of ACE inhibitors because of cough.": {"ace_inhibitor"},
    "A severe reaction to vancomycin is recorded.": {"vancomycin"},
    "Hypersensitivity to iodinated contrast and to lidocaine.": {"iodinated_contrast", "lidocaine"},
    "Denies fever but reports an allergy to aspirin.": {"aspirin"},
    "Rash following a course of clarithromycin.": {"clarithromycin"},
}
DENIED = (
    "NKDA.",
    "No known drug allergies.",
    "She has no known allergies and takes metformin.",
    "He denies any drug allergies.",
    "Denies allergies to penicillin or sulfa.",
    "No allergies to penicillin.",
    "She is not allergic to penicillin.",
    "He isn't allergic to aspirin and takes it daily.",
    "There is no penicillin allergy.",
    "No history of anaphylaxis to amoxicillin.",
    "She has never had a reaction to penicillin.",
    "Never allergic to anything; takes warfarin.",
    "His mother is allergic to penicillin.",
    "Family history of penicillin allergy.",
    "Nobody in the family has allergies.",
    "Penicillin allergy was ruled out by testing.",
    "Penicillin allergy: none.",
    "Allergies: none known. Medications: warfarin, aspirin.",
    "Allergies: NKDA; warfarin 5 mg daily.",
    "Allergic to penicillin? No.",
    "Penicillin caused no rash.",
    "Tolerates penicillin; allergies none.",
    "No fever, cough or penicillin allergy.",
    "If allergic to penicillin, give azithromycin.",
    "Hives were treated with cetirizine.",
    "Allergic rhinitis, treated with loratadine.",
    "The culture is sensitive to amoxicillin.",
    "Without hypersensitivity to sulfa drugs.",
    "Allergic to no medications.",
)
ENTRIES = {
    "penicillin (anaphylaxis)": {"penicillin"},
    "PCN": {"penicillin"},
    "sulfa drugs - rash": {"sulfonamide"},
    "Penicillins, sulfa": {"penicillin", "sulfonamide"},
    "ASA": {"aspirin"},
    "codeine (nausea)": {"codeine"},
    "allergic to penicillin": {"penicillin"},
    "penicillin allergy": {"penicillin"},
    "Augmentin: hives": {"amoxicillin", "clavulanate"},
    "ibuprofen and other NSAIDs": {"ibuprofen", "nsaid"},
    "intolerance to ACE inhibitors (cough)": {"ace_inhibitor"},
    "none known": set(),
    "NKDA": set(),
    "No known drug allergies": set(),
    "None": set(),
    "n/a": set(),
    "unknown": set(),
    "denies": set(),
    "-": set(),
}
NAMES = st.sampled_from(["penicillin", "sulfa", "Augmentin", "aspirin", "NSAIDs", "foozumab", "codeine"])


@pytest.mark.parametrize(("text", "found"), TOLD.items())
def test_allergies_told_in_sentences(text: str, found: set[str]):
    """What a sentence tells of the patient's allergies is found, and no more."""
    assert told_in(text) == found


@pytest.mark.parametrize("text", DENIED)
def test_denials_tell_none(text: str):
    """A denial, a relative's allergy, a possibility and a treatment are no allergy of the patient's."""
    assert told_in(text) == frozenset()


@pytest.mark.parametrize(("entry", "found"), ENTRIES.items())
def test_entries_of_a_list(entry: str, found: set[str]):
    """An entry of a list of allergies: names with or without reactions, classes, and ways to say none."""
    assert allergens(entry) == found


@given(
    st.sampled_from(
        [
            "No known allergy to {}.",
            "He denies allergies to {} and {}.",
            "She is not allergic to {}.",
            "There is no history of anaphylaxis to {} or {}.",
            "No {} allergy.",
            "{} allergy was ruled out.",
            "Her sister is allergic to {}.",
            "Denies {} or {} allergies.",
        ]
    ),
    NAMES,
    NAMES,
)
@settings(max_examples=100)
def test_a_denial_never_gives_an_allergy(form: str, first: str, second: str):
    """Whatever is denied, known or not, tells nothing."""
    assert told_in(form.format(first, second)) == frozenset()


@given(NAMES, st.sampled_from(["He is allergic to {}.", "Allergies: {}.", "{}"]))
@settings(max_examples=60)
def test_an_allergen_is_found_beside_a_denial_of_another(name: str, form: str):
    """A denial of one thing hides no allergy to another."""
    told = form.format(name)
    read = told_in if form != "{}" else allergens
    assert read(told) >= {c for c in ingredients(name) if not is_unknown(c)}
    assert read(told)
    assert told_in(f"She has no fever. He is allergic to {name}. No known food allergies.")


def test_unknown_allergens_meet_under_the_same_key_only():
    """An unknown name is a digest that is equal to the drug's, and another under another key."""
    assert allergens("foozumab (hives)", b"k") == set(ingredients("Foozumab", b"k"))
    assert allergens("foozumab", b"k").isdisjoint(allergens("foozumab", b"other"))


def _vignettes():
    with (ROOT / "examples" / "vignettes.ndjson").open(encoding="utf-8") as file:
        yield from map(json.loads, file)
    yield from itertools.islice(vignettes(200, 3), 200)


def test_simulated_and_example_vignettes_tell_their_allergies():
    """Every allergy of 200 simulated vignettes is found in the text alone, and none is invented."""
    for made in _vignettes():
        vignette = Vignette.model_validate(made)
        listed = frozenset().union(*map(allergens, vignette.context.allergies))
        told = told_in(vignette.vignette)
        if vignette.id.startswith("sim-"):
            assert told == listed, vignette.id
        elif (
            vignette.id != "demo-02"
        ):  # penicillin in the context, the amoxicillin that caused it in the text
            assert told <= listed, vignette.id


def test_facts_of_the_context():
    """Ages, numbers and names become codes; what is not known stays None or empty."""
    vignette = Vignette.model_validate(
        {
            "id": "1",
            "vignette": "A 70-year-old woman. Allergic to codeine.",
            "context": {
                "age": 70,
                "sex": "female",
                "conditions": ["Asthma", "CHF"],
                "allergies": ["sulfa"],
                "medications": [{"name": "Lipitor 40 mg"}, {"name": "Lasix"}, {"name": "atorvastatin"}],
            },
        }
    )
    assert patient_of(vignette, os.urandom(8)) == Patient(
        age=70,
        sex="female",
        allergies=frozenset({"sulfonamide", "codeine"}),
        current=("atorvastatin", "furosemide"),
        conditions=frozenset({"asthma", "heart_failure"}),
    )


def test_pregnancy_among_the_conditions_is_pregnancy():
    """Where the field is not told, a condition tells it; where it is told, it stands."""
    told = {"id": "1", "vignette": "A woman who is tired and sick.", "context": {"conditions": ["pregnancy"]}}
    assert patient_of(Vignette.model_validate(told), b"").pregnant is True
    told["context"] = {"conditions": ["pregnancy"], "pregnant": False}
    assert patient_of(Vignette.model_validate(told), b"").pregnant is False
