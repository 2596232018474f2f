"""What cannot be read: an error of its own, or the record waits where a hole could harm; nothing vanishes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from producers.readers.fhir import Account, gather, source
from tests.producers.readers.fhir.made import (
    PATIENT,
    Resource,
    allergy,
    bundle,
    coded,
    condition,
    fault,
    order,
    read,
    value,
)

HERE = "Bundle.entry[1].resource"


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        (order("", medicationCodeableConcept={"coding": [{"code": "855350"}]}), "medicationCodeableConcept"),
        (order("", medicationCodeableConcept="x", status="bogus"), "status"),
        (order("X", status=None), "status"),
        (order("X", intent="whim"), "intent"),
        (order("X", authoredOn="2024-13-45"), "authoredOn"),
        (order("X", dosageInstruction="daily"), "dosageInstruction"),
        (order("X", dosageInstruction=[{"doseAndRate": [7]}]), "dosageInstruction[0].doseAndRate[0]"),
        (order(""), "medicationCodeableConcept"),
        (order("", medicationReference={"reference": "Medication/none"}), "medicationReference"),
        (order("", medicationReference={"reference": "#none"}), "medicationReference"),
        (order("X", subject=None), "subject"),
        (order("X", subject={"reference": "nobody"}), "subject"),
        (allergy("", code=None), "code"),
        (allergy("X", clinicalStatus=["?"]), "clinicalStatus"),
        (allergy("X", clinicalStatus="bogus"), "clinicalStatus"),
        (condition("X", "bogus"), "clinicalStatus"),
        ({**condition("X"), "code": None}, "code"),
        (value("33914-3", "many", "mL/min"), "valueQuantity.value"),
        (value("2160-0", 1.0, "g/kg"), "valueQuantity.unit"),
        (value("33914-3", 900, "mL/min"), "valueQuantity.unit"),
    ],
)
def test_a_record_with_a_hole_that_could_harm_waits(resource: Resource, path: str) -> None:
    """Named by the element; a current medicine, an allergy, a condition, renal function."""
    assert fault(resource, condition("Gout"))[1] == f"{HERE}.{path}"


def test_of_what_is_long_the_beginning_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever cannot be read, memory stays bounded: a cut line, no FHIR, a note with a fault."""
    for module in (source, gather):
        monkeypatch.setattr(module, "MAX_TEXT", 200)
    note = {
        "resourceType": "DocumentReference",
        "subject": {"reference": "Patient/p1"},
        "content": [{"attachment": {"data": "%" * 300}}],
    }
    lines = [json.dumps(each) for each in ({"no": "x" * 300}, note, PATIENT, condition("Gout"))]
    reads = read("\n".join([f'{{"cut": "{"x" * 300}', *lines]))
    assert [len(each.text) for each in reads if each.error] == [200, 200, 200]
    assert [each.vignette is not None for each in reads] == [False, False, False, True]


@pytest.mark.parametrize(
    "resource",
    [
        order("X", status="stopped", authoredOn="2024-13-45"),
        order("", status="stopped"),
        condition("X", "resolved", onsetDateTime=["?"]),
        value("29463-7", "heavy", "kg"),
        {"resourceType": "Encounter", "subject": {"reference": "Patient/p1"}, "period": "now"},
        {
            "resourceType": "DocumentReference",
            "subject": {"reference": "Patient/p1"},
            "content": [{"attachment": {"data": "%%%"}}],
        },
    ],
)
def test_what_is_not_of_weight_is_set_aside_by_itself(resource: Resource) -> None:
    """The patient's record goes on; the resource comes back with where, why and what to do."""
    account = Account()
    reads = read(bundle(PATIENT, resource, order("Aspirin")), account=account)
    (alone,) = [each for each in reads if each.error]
    (record,) = [each.vignette for each in reads if each.vignette]
    assert alone.error is not None
    assert alone.error.path.startswith(HERE)
    assert json.loads(alone.text) == resource
    assert [each.name for each in record.context.medications] == ["Aspirin"]
    assert account.set_aside.total() == 1


@pytest.mark.parametrize(
    ("patient", "code"),
    [
        ({"deceasedBoolean": True}, "deceased"),
        ({"deceasedDateTime": "2025-01-01"}, "deceased"),
        ({"birthDate": "2024-13-45"}, "fhir_element"),
        ({"birthDate": "2025-12-01"}, "fhir_element"),
        ({"birthDate": "1860-01-01"}, "fhir_element"),
        ({"gender": "yes"}, "fhir_element"),
        ({"id": None}, "no_patient"),
        ({"id": "x" * 300}, "fhir_element"),
    ],
)
def test_a_patient_who_cannot_be_read_is_not_sent(patient: dict[str, Any], code: str) -> None:
    """The dead, an age that cannot be, an unknown sex, no id."""
    about = {"reference": f"Patient/{patient.get('id', 'p1')}"}
    reads = read(bundle({**PATIENT, **patient}, order("Aspirin", subject=about)))
    assert code in {each.error.code for each in reads if each.error}
    assert not any(each.vignette for each in reads)


def test_a_patient_alone_is_not_sent() -> None:
    """There is nothing to recommend on."""
    (found,) = read(PATIENT)
    assert found.error is not None
    assert found.error.code == "nothing_known"


def test_what_is_set_aside_can_be_mended_and_sent_again() -> None:
    """With the Medication and the practitioner it refers to, and without other patients'."""
    drug = {"resourceType": "Medication", "id": "m1", "code": coded("Warfarin 5 MG")}
    doctor = {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Okafor"}]}
    bad = order(
        "",
        id="o1",
        medicationReference={"reference": "Medication/m1"},
        requester={"reference": "Practitioner/d1"},
    )
    other = {**PATIENT, "id": "p2"}
    others = condition("Gout", subject={"reference": "Patient/p2"})
    lines = [PATIENT, drug, {**bad, "status": "activ"}, doctor, allergy("Latex"), other, others]
    reads = read("\n".join(json.dumps(each) for each in lines))
    assert [each.vignette.id for each in reads if each.vignette] == ["p2"]
    (waiting,) = [each for each in reads if each.error]
    assert waiting.error is not None
    assert (waiting.error.path, waiting.error.line) == ("MedicationRequest.status", 3)
    assert "\n" not in waiting.text
    (mended,) = read(waiting.text.replace('"activ"', '"active"'))
    assert mended.vignette is not None
    assert [each.name for each in mended.vignette.context.medications] == ["Warfarin 5 MG"]
    assert mended.vignette.context.allergies == ["Latex"]
    assert "Okafor" in mended.vignette.identity.names


def test_a_broken_line_that_names_its_patient_holds_his_record() -> None:
    """An order may be lost; another's record goes on, and so does one that lost a value of no weight."""
    other = {**PATIENT, "id": "p2"}
    lines = [PATIENT, condition("Gout"), other, condition("Gout", subject={"reference": "Patient/p2"})]
    broken = json.dumps(order("Warfarin", subject={"reference": "Patient/p2"}))[:-1]
    light = json.dumps({**value("29463-7", 1), "subject": {"reference": "Patient/p1"}})[:-1]
    reads = read("\n".join([*(json.dumps(each) for each in lines), broken, light]))
    assert [each.vignette.id for each in reads if each.vignette] == ["p1"]
    assert [(each.line, each.error.code) for each in reads if each.error] == [
        (5, "not_json"), (6, "not_json"), (5, "not_json"),
    ]  # fmt: skip
    assert next(each.text for each in reads if each.line == 5) == broken


def test_two_versions_of_a_resource() -> None:
    """The later counts; where neither is later the record waits; the same twice is the same."""
    old = order("Warfarin", id="o1", meta={"lastUpdated": "2025-01-01T00:00:00Z"})
    new = {**old, "status": "stopped", "meta": {"lastUpdated": "2025-01-02T00:00:00Z"}}
    for versions in ((old, new), (new, old)):
        (found,) = read(bundle(PATIENT, *versions, condition("Gout")))
        assert found.vignette is not None
        assert found.vignette.context.medications == []
    plain = order("Warfarin", id="o1")
    assert fault(plain, {**plain, "status": "stopped"})[0] == "duplicate"
    (found,) = read(bundle(PATIENT, plain, plain))
    assert found.vignette is not None
    assert fault({**PATIENT, "birthDate": "1970-01-01"}, plain)[0] == "duplicate"


def test_two_patients_of_a_bundle_are_two_records() -> None:
    """Each with his own; what names neither comes back by itself."""
    other = {**PATIENT, "id": "p2", "gender": "male"}
    reads = read(
        bundle(
            PATIENT,
            other,
            order("Aspirin"),
            order("Warfarin", subject={"reference": "Patient/p2"}),
            order("Digoxin", subject=None),
        )
    )
    records = [each.vignette for each in reads if each.vignette]
    taken = {each.id: each.context.medications[0].name for each in records}
    assert taken == {"p1": "Aspirin", "p2": "Warfarin"}
    assert [each.error.code for each in reads if each.error] == ["no_subject"]


def test_a_stream_that_cannot_be_read_again_loses_no_error() -> None:
    """What is set aside comes without its text, unless the inputs can be opened anew."""
    import io

    from producers.readers.fhir import read_fhir

    class Once(io.BytesIO):
        def seekable(self) -> bool:
            return False

    text = json.dumps(allergy("Latex")).encode()
    (found,) = read_fhir([("a", Once(text))])
    assert found.error is not None
    assert found.text == ""
    (found,) = read_fhir([("a", Once(text))], again=lambda: [("a", Once(text))])
    assert json.loads(found.text) == allergy("Latex")
