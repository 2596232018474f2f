"""What a resource says in the vignette and its context."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from producers.readers.fhir.observations import ckd_epi_2021
from tests.producers.readers.fhir.made import (
    PATIENT,
    allergy,
    bundle,
    coded,
    condition,
    one,
    order,
    read,
    value,
)


def names(*resources: dict[str, Any]) -> list[str]:
    """The current medications."""
    return [each.name for each in one(*resources).context.medications]


@pytest.mark.parametrize("status", ["active", "recurrence", "relapse"])
def test_active_conditions_are_context_and_others_history(status: str) -> None:
    """By clinicalStatus; what is refuted or entered in error is not told at all."""
    found = one(
        condition("Asthma (disorder)", status),
        condition("Sinusitis", "resolved", abatementDateTime="2025-02-02"),
        condition("Gout", verificationStatus=coded("", "refuted")),
        condition("Lupus", verificationStatus="entered-in-error"),
    )
    assert found.context.conditions == ["Asthma"]
    assert "Earlier conditions: Sinusitis (2025-01-10 to 2025-02-02)." in found.vignette
    assert "Gout" not in found.vignette
    assert "Lupus" not in found.vignette


def test_an_allergy_is_told_with_what_it_does() -> None:
    """Substance in the context; category, criticality and reaction in the text; inactive ones nowhere."""
    reaction = [{"manifestation": [coded("Anaphylaxis")], "severity": "severe"}]
    found = one(
        allergy("Penicillin V", category=["medication"], criticality="high", reaction=reaction),
        allergy("Latex", clinicalStatus=coded("", "inactive")),
        allergy("", code=None, reaction=[{"substance": coded("Codeine"), "manifestation": [coded("Rash")]}]),
    )
    assert set(found.context.allergies) == {"Penicillin V", "Codeine"}
    assert (
        "Penicillin V (medication; criticality high; reaction: Anaphylaxis; severity severe)"
        in found.vignette
    )
    assert "Latex" not in found.vignette


def test_no_known_allergy_is_not_an_allergy() -> None:
    """Said by code or by words, it is told as such."""
    found = one(allergy("No known drug allergies", code=coded("No known drug allergy", "409137002")))
    assert found.context.allergies == []
    assert "No known drug allergy." in found.vignette


@pytest.mark.parametrize(
    ("more", "now"),
    [
        ({"status": "active"}, True),
        ({"status": "on-hold"}, True),
        ({"status": "unknown"}, True),
        ({"status": "stopped"}, False),
        ({"status": "cancelled"}, False),
        ({"status": "entered-in-error"}, False),
        ({"status": "draft"}, False),
        ({"status": "active", "intent": "proposal"}, False),
        ({"status": "active", "doNotPerform": True}, False),
        ({"status": "completed"}, False),
        (
            {
                "status": "completed",
                "authoredOn": "2026-01-10",
                "dispenseRequest": {"expectedSupplyDuration": {"value": 90, "code": "d"}},
            },
            True,
        ),
    ],
)
def test_what_is_taken_goes_by_status_and_intent(more: dict[str, Any], now: bool) -> None:
    """Active, on hold, and a supply that is not used up; the day is that of the newest resource."""
    latest = condition("Gout", onsetDateTime="2026-02-01")
    assert names(order("Warfarin 5 MG", **more), latest) == (["Warfarin 5 MG"] if now else [])


def test_statements_dispenses_and_administrations_count_once() -> None:
    """A drug that is ordered is not listed again; one known only from elsewhere is."""
    subject = {"reference": "Patient/p1"}
    statement = {"resourceType": "MedicationStatement", "status": "active", "subject": subject}
    found = names(
        order("Warfarin 5 MG"),
        {**statement, "id": "a", "medicationCodeableConcept": coded("Warfarin 5 MG")},
        {**statement, "id": "b", "medicationCodeableConcept": coded("Ginkgo")},
        {**statement, "id": "c", "taken": "n", "medicationCodeableConcept": coded("Aspirin")},
        {
            "resourceType": "MedicationAdministration",
            "status": "in-progress",
            "subject": subject,
            "medicationCodeableConcept": coded("Heparin"),
            "effectivePeriod": {"start": "2025-02-01"},
        },
        {
            "resourceType": "MedicationDispense",
            "status": "completed",
            "subject": subject,
            "medicationCodeableConcept": coded("Digoxin"),
            "whenHandedOver": "2025-01-20",
            "daysSupply": {"value": 30, "code": "d"},
        },
    )
    assert sorted(found) == ["Digoxin", "Ginkgo", "Heparin", "Warfarin 5 MG"]


@pytest.mark.parametrize("written", ["Medication/m1", "http://x.test/fhir/Medication/m1", "urn:uuid:m1"])
def test_a_medicine_is_found_however_it_is_referred_to(written: str) -> None:
    """Relative, absolute, urn:uuid; its ingredients name it where its code does not."""
    parts = [
        {"itemCodeableConcept": coded("Amoxicillin"), "strength": {"numerator": {"value": 500, "unit": "mg"}}}
    ]
    drug = {"resourceType": "Medication", "id": "m1", "ingredient": parts}
    assert names(order("", medicationReference={"reference": written}), drug) == ["Amoxicillin 500 mg"]


@pytest.mark.parametrize(
    ("dosage", "words"),
    [
        ({"text": "one tablet at night"}, "one tablet at night"),
        (
            {
                "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d", "when": ["PC"]}},
                "route": coded("Oral"),
                "doseAndRate": [{"doseQuantity": {"value": 2.5, "unit": "mg"}}],
            },
            "2.5 mg, oral, 2 times a day, after meals",
        ),
        (
            {
                "doseQuantity": {"value": 1},
                "timing": {"repeat": {"frequency": 1, "period": 6, "periodUnit": "h"}},
            },
            "dose 1, every 6 hours",
        ),
        (
            {
                "doseAndRate": [
                    {"doseRange": {"low": {"value": 1, "unit": "mg"}, "high": {"value": 2, "unit": "mg"}}}
                ],
                "timing": {"code": coded("BID")},
                "asNeededCodeableConcept": coded("Pain"),
            },
            "1 mg to 2 mg, BID, as needed for pain",
        ),
    ],
)
def test_a_dosage_in_words(dosage: dict[str, Any], words: str) -> None:
    """Its text where it has one, else amount, route and timing."""
    (drug,) = one(order("X-drug", dosageInstruction=[dosage])).context.medications
    assert drug.dose == words


def test_the_equation_of_2021() -> None:
    """Values of the published calculator: creatinine 1.0 mg/dL at 50 years gives 69 and 92."""
    assert ckd_epi_2021(1.0, 50, "female") == pytest.approx(69, abs=0.5)
    assert ckd_epi_2021(1.0, 50, "male") == pytest.approx(92, abs=0.5)
    assert ckd_epi_2021(1.0, 17, "male") is None
    assert ckd_epi_2021(1.0, 50, None) is None


@pytest.mark.parametrize(
    ("values", "egfr"),
    [
        ([value("33914-3", 45, "mL/min", "2024-01-01"), value("62238-1", 52, "mL/min/{1.73_m2}")], 52),
        ([value("48642-3", 60, "mL/min"), value("48643-1", 71, "mL/min")], 60),
        ([value("33914-3", 45, "mL/min", "2024-01-01"), value("2160-0", 1.0)], 62.5),
        ([value("2160-0", 88.42, "umol/L")], 62.5),
        ([value("2160-0", 1.0), value("2160-0", 88.42 * 4, "umol/L"), value("2160-0", 2.0)], 11.9),
        ([value("98979-8", None, valueString=">60 mL/min")], 60),
        ([value("33914-3", 45, "mL/min", status="entered-in-error"), condition("Gout")], None),
    ],
)
def test_renal_function(values: list[dict[str, Any]], egfr: float | None) -> None:
    """The newest reported, the worst of a day, else by the equation from a newer creatinine."""
    found = one(*values).context.egfr
    assert found == egfr if egfr is None else found == pytest.approx(egfr, abs=0.1)


def status(code: str, day: str) -> dict[str, Any]:
    """An answer to "pregnancy status"."""
    return value("82810-3", None, day=day, valueCodeableConcept=coded("", code))


@pytest.mark.parametrize(
    ("resources", "pregnant"),
    [
        ([status("77386006", "2025-06-01")], True),
        ([status("60001007", "2025-06-01")], False),
        ([status("261665006", "2025-06-01")], None),
        ([status("77386006", "2024-01-01"), condition("Gout")], None),
        (
            [condition("Normal pregnancy", code="72892002"), condition("Gout", onsetDateTime="2025-05-01")],
            True,
        ),
        (
            [condition("Normal pregnancy", code="72892002", onsetDateTime="2020-01-01"), condition("Gout")],
            None,
        ),
        ([value("11778-8", None, valueDateTime="2025-09-09")], True),
    ],
)
def test_pregnancy(resources: list[dict[str, Any]], pregnant: bool | None) -> None:
    """From the status, a condition, an expected date of delivery; all of them end by themselves."""
    found = one(*resources)
    assert found.context.pregnant is pregnant
    if pregnant is None:
        assert not any("pregnan" in each.lower() for each in found.context.conditions)


def test_values_are_told_with_their_day() -> None:
    """The newest of a kind; a blood pressure from its components."""
    pressure = [
        {"code": coded("", code), "valueQuantity": {"value": number}}
        for code, number in (("8480-6", 141.2), ("8462-4", 88))
    ]
    found = one(
        value("2823-3", 4.1, "mmol/L", "2025-01-01"),
        value("2823-3", 5.6, "mmol/L", "2025-06-01"),
        value("85354-9", None, component=pressure),
    )
    assert "blood pressure 141/88 mmHg (2025-06-01); potassium 5.6 mmol/L (2025-06-01)" in found.vignette


def note(text: str, day: str, **more: Any) -> dict[str, Any]:
    """A DocumentReference."""
    attachment = {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}
    base = {"resourceType": "DocumentReference", "status": "current", "subject": {"reference": "Patient/p1"}}
    return {
        **base,
        "type": coded("Progress note"),
        "date": day,
        "content": [{"attachment": attachment}],
        **more,
    }


def test_notes_come_newest_first_as_far_as_there_is_room() -> None:
    """20,000 characters in all; what is left out is counted; superseded notes are not read."""
    found = one(
        note("old " * 4000, "2025-01-01"),
        note("new " * 3000, "2025-06-01"),
        note("older", "2024-01-01"),
        note("wrong", "2025-06-02", status="superseded"),
    )
    assert len(found.vignette) <= 20_000
    assert found.vignette.index("new new") < found.vignette.index("old old")
    assert found.vignette.endswith("1 older notes are left out.")
    assert "wrong" not in found.vignette


def test_a_document_bundle_tells_its_sections() -> None:
    """A Composition's narrative becomes text, without markup and scripts."""
    div = "<div xmlns='http://www.w3.org/1999/xhtml'><p>Dizzy &amp; pale.</p><script>no</script></div>"
    composition = {
        "resourceType": "Composition",
        "date": "2025-03-03",
        "subject": {"reference": "Patient/p1"},
        "section": [{"title": "Plan", "text": {"status": "generated", "div": div}}],
    }
    text = one(composition).vignette
    assert "Plan\nDizzy & pale." in text
    assert "no</" not in text


def test_who_he_is() -> None:
    """Maiden name, contact, practitioners and their displays; short numbers would mask doses and are left."""
    doctor = {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Okafor", "given": ["Uche"]}]}
    requester = {"reference": "Practitioner/d1", "display": "Dr. U. Okafor"}
    known = one(doctor, order("Aspirin", requester=requester)).identity
    assert {"Ada Jane Morrow", "Ada Morrow", "Vance", "Tom Morrow", "Uche Okafor", "Dr. U. Okafor"} <= set(
        known.names
    )
    assert known.identifiers == ["MRN-88213"]
    assert {"12 Elm Row", "Leeds", "LS1 4AP"} <= set(known.addresses)
    assert known.contacts == ["555-0100", "555-0199"]
    assert (str(known.birth_date), str(known.date)) == ("1960-05-04", "2025-02-01")


@pytest.mark.parametrize(
    ("patient", "age", "sex"),
    [
        ({"birthDate": "1960"}, 64, "female"),
        ({"birthDate": "2024-12"}, 0.13, "female"),
        ({"birthDate": None, "gender": None}, None, None),
        ({"gender": "unknown", "extension": [{"url": "x/us-core-birthsex", "valueCode": "M"}]}, 64, "male"),
        ({"gender": "other"}, 64, "other"),
    ],
)
def test_age_and_sex(patient: dict[str, Any], age: float | None, sex: str | None) -> None:
    """On the latest day that is recorded; partial dates of birth count from their middle."""
    (found,) = read(bundle({**PATIENT, **patient}, order("Aspirin")))
    assert found.vignette is not None
    assert (found.vignette.context.age, found.vignette.context.sex) == (age, sex)
    assert "the latest day in the record" in found.vignette.vignette
