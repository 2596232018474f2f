"""What a reader needs stays: readings, doses, diagnoses, though names, ages and numbers look the same."""

from __future__ import annotations

import datetime as dt

import pytest

from shared.masking import Mask
from shared.schemas import Identity, Vignette

VISIT = Identity(birth_date=dt.date(1963, 3, 4), date=dt.date(2021, 3, 18))


def masked(text: str, identity: Identity = VISIT) -> str:
    """The text as a remote model sees it."""
    return Mask.of(Vignette(id="v", vignette=f"{text:20}.", identity=identity)).mask(text).text


@pytest.mark.parametrize(
    "text",
    [
        # no ages
        "T 102 F, HR (112), SpO2 (91) on room air; Tmax 101F, fever to 102F, afebrile at 98F, 102 F fever.",
        "Temp 101F this morning, 98 F now. Walked 110 m in six minutes; claudication at 90 m.",
        "LDL elevated (128), sodium low (125), platelets (98), Peak flow (110), weight 95 (before 98).",
        "Spiked a 102F overnight, had a 101F.",
        # no telephones
        "ABG: pH 7.21/68/54 on 4 L; PH 7.35/45/90.",
        "Home 152/90 148/86 on amlodipine. Office 150/90/72. Back to 120/80 - 130/84. Home: 150/90-160/100.",
        "Phone 120/80 118/76; number 120 000 000. Reached 120 000 - 150 000 platelets.",
        # no dates
        "Novorapid 8-6-10 IE; insulin aspart 8-6-10 before meals; started Novorapid 10-12-14, basal 22.",
        "A1c 8. Levodopa 4-4-20. Prednisone 5-5-10 taper, levodopa 100 mg 4-4-20, glargine: 8-6-10.",
        "I am 5/10 today. Version 4.3.21; 1.2.10 mg; 2-3-10 reps; 7-10-14 days; BP 12-10-20 mmHg.",
        # no identifiers
        "Prescription: 500mg amoxicillin. Order: 40mg furosemide IV. Order: 10000 units heparin.",
        "Visit: 145/90, HR 72. Case: 58-year-old man. Case: 58yo man. Device: 3.5x18mm stent.",
        # nobody
        "Melanoma, 10 years ago, resected. Melanoma recurred. Gout, 5 years. Lymphoma (45), treated.",
        "Cl (98), Hb (12), Ferritin (98), Troponin (12), Ejection Fraction (45), Alkaline Phosphatase (98).",
        "Mean Corpuscular Volume (98), Uric Acid (12), Norton Score (12). MS Contin 15 mg. MS.Contin.",
        "brother Lupus; father Prostate cancer; Father Prostate cancer; mother Alzheimer's; Sister Crohn's.",
        "Ehlers-Danlos, 12 years. Fall, 3 years ago. Since 2019 May-Thurner syndrome.",
        "known as Kawasaki disease; called Takotsubo cardiomyopathy; seen by Podiatry; seen by Ortho.",
        "Transferred to Telemetry. Transferred to Hemodialysis. See the nurse.Then go.",
    ],
)
def test_clinical_text_stays(text: str) -> None:
    """Vital signs, laboratory values, schemes, strengths and diagnoses are shown as they are."""
    assert masked(text) == text


def test_what_was_measured_on_the_day_of_birth_is_no_age() -> None:
    """A newborn's laboratory value is dated; only a word for birth makes an age of the day."""
    shown = masked("Haemoglobin 15.93 g/dL (1963-03-04), born 1963-03-04.")
    assert shown == "Haemoglobin 15.93 g/dL ([the day of birth]), born [58 years old]."
    assert masked(shown) == shown
