"""Versions of a resource: what a later one takes back or corrects, and what was deleted, is left out."""

from __future__ import annotations

import pytest

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

HELD = [
    (order("Warfarin", id="x"), {"status": "entered-in-error"}),
    (condition("Gout", id="x"), {"verificationStatus": coded("", "refuted")}),
    (allergy("Latex", id="x"), {"clinicalStatus": coded("", "inactive")}),
    (value("2160-0", 4.0, id="x"), {"status": "entered-in-error"}),
]


def dated(resource: Resource, at: str) -> Resource:
    """A version of a resource."""
    return {**resource, "meta": {"lastUpdated": at}}


def known(*entries: Resource) -> set[str]:
    """What stands in the one record of a Bundle."""
    made = bundle(PATIENT, condition("Migraine"), *(each for each in entries if "resourceType" in each))
    made["entry"] += [each for each in entries if "resourceType" not in each]
    (found,) = read(made)
    assert found.vignette is not None, found.error
    context = found.vignette.context
    named = {each.name for each in context.medications} | {*context.conditions, *context.allergies}
    return named | ({"eGFR"} if context.egfr is not None else set())


@pytest.mark.parametrize(("resource", "withdrawn"), HELD)
def test_a_later_version_takes_back(resource: Resource, withdrawn: Resource) -> None:
    """Whatever the order; an earlier one does not; where nobody can tell the record waits."""
    gone = {**resource, **withdrawn}
    early, late = "2025-01-01T23:00:00-05:00", "2025-01-02T04:00:00.5Z"  # half a second later
    for versions in (
        (dated(resource, early), dated(gone, late)),
        (dated(gone, late), dated(resource, early)),
    ):
        assert known(*versions) == {"Migraine"}
    for versions in (
        (dated(resource, late), dated(gone, early)),
        (dated(gone, early), dated(resource, late)),
    ):
        assert len(known(*versions)) == 2
    assert fault(resource, gone)[0] == "duplicate"


@pytest.mark.parametrize("resource", [each for each, _ in HELD])
def test_what_was_deleted_since_is_left_out(resource: Resource) -> None:
    """As a history tells it, or an export's list of what is gone; what was made anew after that stands."""
    deletion = {"request": {"method": "DELETE", "url": f"{resource['resourceType']}/x"}}
    timed = {**deletion, "response": {"lastModified": "2025-01-02T00:00:00Z"}}
    assert len(known(resource)) == 2
    assert known(resource, deletion) == {"Migraine"}
    assert known(dated(resource, "2025-01-01T00:00:00Z"), timed) == {"Migraine"}
    assert len(known(dated(resource, "2025-01-03T00:00:00Z"), timed)) == 2


def test_what_was_deleted_does_not_come_back_with_the_mended_record() -> None:
    """What is set aside is written without it: the deletion itself would be lost on the way."""
    made = bundle(PATIENT, order("Warfarin", id="x"), {**order("Aspirin"), "status": 7})
    made["entry"].append({"request": {"method": "DELETE", "url": "MedicationRequest/x"}})
    (found,) = read(made)
    assert found.error is not None
    assert "Aspirin" in found.text
    assert "Warfarin" not in found.text


def test_a_corrected_value_replaces_the_first() -> None:
    """Though the first would be the worse of the day."""
    wrong, right = value("2160-0", 9.0, id="x"), value("2160-0", 1.0, id="x")
    first, second = dated(wrong, "2025-06-01T06:00:00Z"), dated(right, "2025-06-01T07:00:00Z")
    for versions in ((first, second), (second, first)):
        (found,) = read(bundle(PATIENT, *versions))
        assert found.vignette is not None
        assert found.vignette.context.egfr == pytest.approx(62.5, abs=0.1)
