"""One record's resources: what each holds, by which reference, and that none is ever an order."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from producers.fhir import Told, resources_of
from shared.medications import ingredients
from shared.schemas import Identity
from tests.producers.fhir.r4 import valid
from tests.producers.fhir.results import CONSULTATION, KEY, PERSON, findings, order, refused, row, told

GROUP = {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{CONSULTATION}"}


def made(of: dict[str, Any], known: Told | None) -> dict[str, list[dict[str, Any]]]:
    """The resources, checked, by type; made twice they are the same."""
    first = list(resources_of(of, known))
    assert first == list(resources_of(copy.deepcopy(of), known))
    return valid(first)


def test_a_drug_is_proposed_with_code_dose_reason_and_who_says_so() -> None:
    """The dose of the best answer that gives one; what the others give stands in a note."""
    known = told(
        [order("Zocor", indication="high cholesterol")],
        [order("simvastatin", dose="40 mg", route="oral", frequency="at\tbedtime", indication="lipids")],
        [order("simvastatin", dose="20 mg"), order("aspirin", dose="81 mg")],
    )
    of = row(recommendation=["simvastatin"], reason="low_agreement", simulated=True)
    found = made({**of, "state": "needs_review"}, known)
    [request] = found["MedicationRequest"]
    assert "doNotPerform" not in request
    assert request["medicationCodeableConcept"] == {
        "coding": [
            {
                "system": "http://www.nlm.nih.gov/research/umls/rxnorm",
                "code": "36567",
                "display": "simvastatin",
            }
        ],
        "text": "simvastatin",
    }
    assert request["subject"] == {"type": "Patient", "identifier": {"value": "case-1"}}
    assert request["groupIdentifier"] == GROUP
    assert request["authoredOn"] == "2025-03-01T12:00:00.000+00:00"
    assert request["reasonCode"] == [{"text": "high cholesterol"}]
    assert request["dosageInstruction"] == [{"text": "40 mg oral at bedtime"}]
    notes = " ".join(each["text"] for each in request["note"])
    for said in (
        "Prepared by language models for a clinician's review: a proposal, not an order.",
        "Named by 3 of 3 answers. Other answers give: 20 mg.",
        "A clinician must look: the seats' lists hardly agree.",
        "simulated",
    ):
        assert said in notes
    assert request["meta"]["security"][0]["code"] == "HTEST"
    [provenance] = found["Provenance"]
    assert provenance["target"] == [{"reference": f"MedicationRequest/{request['id']}"}]
    assert [each["who"]["display"] for each in provenance["agent"]] == [
        *(f"model-{n} (v{n}), simulated" for n in range(3)),
        "Consilium, consensus memory",
    ]
    assert provenance["entity"][0]["what"]["identifier"] == GROUP
    assert not found["OperationOutcome"]


def test_what_should_stop_is_not_to_be_performed() -> None:
    """It has no dose, and another id than a request to start the same drug."""
    known = told([order("ibuprofen", "stop", dose="400 mg", indication="bleeding")])
    [stop] = made(row(stop=["ibuprofen"]), known)["MedicationRequest"]
    assert stop["doNotPerform"] is True
    assert "dosageInstruction" not in stop
    assert stop["reasonCode"] == [{"text": "bleeding"}]
    [start] = made(row(recommendation=["ibuprofen"]), known)["MedicationRequest"]
    assert start["id"] != stop["id"]


def test_the_sources_own_references_come_back() -> None:
    """Patient and encounter as they were sent; what is no reference is an identifier."""
    at = Identity(patient="Patient/f101", encounter="Encounter/e.7")
    known = told([order("aspirin")], vignette=PERSON.model_copy(update={"identity": at}))
    found = made(row(recommendation=["aspirin"]), known)
    [request] = found["MedicationRequest"]
    assert request["subject"] == {"reference": "Patient/f101", "type": "Patient"}
    assert request["encounter"] == {"reference": "Encounter/e.7"}
    odd = PERSON.model_copy(update={"identity": Identity(patient="the lady in 7")})
    [request] = made(row(recommendation=["aspirin"]), told([order("aspirin")], vignette=odd))[
        "MedicationRequest"
    ]
    assert request["subject"]["identifier"] == {"value": "the lady in 7"}


def test_a_drug_that_no_table_knows_has_the_name_that_was_written() -> None:
    """A digest stands in the list; text that FHIR does not allow is mended; a combination's dose is told as
    the whole's."""
    [unknown] = ingredients("Foozumab\x0b 5", KEY)
    known = told([order("Foozumab\x0b 5"), order("Augmentin", dose="875/125 mg")])
    found = made(row(recommendation=["amoxicillin", unknown]), known)
    first, second = found["MedicationRequest"]
    assert second["medicationCodeableConcept"] == {"text": "Foozumab 5"}
    assert first["dosageInstruction"] == [{"text": "875/125 mg (of Augmentin)"}]
    found = made(row(recommendation=[unknown]), told([]))  # its answer is gone: the code itself
    assert found["MedicationRequest"][0]["medicationCodeableConcept"] == {"text": unknown}


def test_findings_point_to_the_requests_that_they_are_about() -> None:
    """What the patient takes already is told by name; each finding once, by severity and kind."""
    known = told([order("ibuprofen"), order("aspirin")])
    stored = findings(PERSON, "ibuprofen", "aspirin")
    found = made(row(recommendation=["aspirin", "ibuprofen"], findings=stored), known)
    ids = {each["medicationCodeableConcept"]["text"]: each["id"] for each in found["MedicationRequest"]}
    one = next(
        each
        for each in found["DetectedIssue"]
        if "warfarin" in each["detail"] and "ibuprofen" in each["detail"]
    )
    assert {"reference": f"MedicationRequest/{ids['ibuprofen']}"} in one["implicated"]
    assert {"display": "warfarin, taken already"} in one["implicated"]
    assert one["severity"] == "high"
    assert one["code"]["coding"][0]["code"] == "DRG"
    assert one["mitigation"][0]["action"]["text"].startswith("Advised, not done: ")
    assert len(found["DetectedIssue"]) == len(stored) > 2
    assert len(found["Provenance"][0]["target"]) == 2 + len(stored)


def test_no_drug_is_said_too() -> None:
    """An outcome instead of requests; with findings about what is taken already there is a Provenance."""
    found = made(row(), told([]))
    [issue] = found["OperationOutcome"][0]["issue"]
    assert (issue["severity"], issue["code"]) == ("information", "informational")
    assert not found["Provenance"]
    found = made(row(state="needs_review", reason="no_feasible_list"), told([]))
    [issue] = found["OperationOutcome"][0]["issue"]
    assert (issue["severity"], issue["code"]) == ("warning", "business-rule")
    assert "ruled out for this patient" in issue["details"]["text"]
    assert not made(row(state="open", recommendation=None), None)["OperationOutcome"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("missing", "required"),
        ("no_patient", "required"),
        ("duplicate_id", "duplicate"),
        ("not_json", "structure"),
        ("string_too_short", "invalid"),
        ("fhir_element", "invalid"),
        ("too_long", "too-long"),
    ],
)
def test_a_record_that_was_set_aside_says_where_and_why(code: str, expected: str) -> None:
    """Line, FHIRPath and reason, and a code of the closed value set."""
    path = "Bundle.entry[12].resource.medicationCodeableConcept"
    [outcome] = made(refused(error_code=code, error_path=path), None)["OperationOutcome"]
    assert outcome["issue"] == [
        {
            "severity": "error",
            "code": expected,
            "details": {"text": "is missing: send it"},
            "diagnostics": "line 3",
            "expression": [path],
        }
    ]
    [outcome] = made(refused(error_code=code, error_path=""), None)["OperationOutcome"]
    assert "expression" not in outcome["issue"][0]


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_what_came_to_no_conclusion_and_what_was_erased(state: str) -> None:
    """Each gives an outcome, and nothing of a patient."""
    ended = row(state=state, reason="no_quorum", recommendation=None, stop=None, findings=None)
    [outcome] = made(ended, None)["OperationOutcome"]
    assert outcome["issue"][0]["details"]["text"] == f"{state}: no quorum"
    [outcome] = made(row(id=None, recommendation=["aspirin"]), None)["OperationOutcome"]
    assert outcome["issue"][0]["code"] == "deleted"
