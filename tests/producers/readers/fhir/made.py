"""Small FHIR resources for tests, and the reader run over them."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any, Literal

from producers.readers.fhir import Account, read_fhir
from producers.readers.record import Read
from shared.schemas import Vignette

Resource = dict[str, Any]
TODAY = dt.date(2026, 3, 1)
PATIENT: Resource = {
    "resourceType": "Patient",
    "id": "p1",
    "gender": "female",
    "birthDate": "1960-05-04",
    "name": [{"family": "Morrow", "given": ["Ada", "Jane"]}, {"use": "maiden", "family": "Vance"}],
    "identifier": [{"value": "MRN-88213"}, {"value": "450"}],
    "address": [{"line": ["12 Elm Row"], "city": "Leeds", "postalCode": "LS1 4AP"}],
    "telecom": [{"system": "phone", "value": "555-0100"}],
    "contact": [{"name": {"family": "Morrow", "given": ["Tom"]}, "telecom": [{"value": "555-0199"}]}],
}


def coded(words: str, code: str = "", system: str = "http://snomed.info/sct") -> Resource:
    """A CodeableConcept."""
    return {"text": words, "coding": [{"system": system, "code": code, "display": words}] if code else []}


def condition(words: str, status: str = "active", code: str = "", **more: Any) -> Resource:
    """A Condition of p1 since 2025-01-10."""
    base = {"resourceType": "Condition", "subject": {"reference": "Patient/p1"}, "code": coded(words, code)}
    return {**base, "clinicalStatus": coded("", status), "onsetDateTime": "2025-01-10", **more}


def allergy(words: str, **more: Any) -> Resource:
    """An active AllergyIntolerance of p1."""
    base = {"resourceType": "AllergyIntolerance", "patient": {"reference": "Patient/p1"}}
    return {**base, "clinicalStatus": coded("", "active"), "code": coded(words), **more}


def order(words: str, status: str = "active", **more: Any) -> Resource:
    """A MedicationRequest of p1 of 2025-02-01."""
    base = {"resourceType": "MedicationRequest", "subject": {"reference": "Patient/p1"}, "intent": "order"}
    named = {"medicationCodeableConcept": coded(words)} if words else {}
    return {**base, **named, "status": status, "authoredOn": "2025-02-01", **more}


def value(loinc: str, number: Any, unit: str = "mg/dL", day: str = "2025-06-01", **more: Any) -> Resource:
    """A final Observation of p1."""
    base = {"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p1"}}
    given = {"valueQuantity": {"value": number, "unit": unit}} if number is not None else {}
    code = {"coding": [{"system": "http://loinc.org", "code": loinc}]}
    return {**base, "code": code, "effectiveDateTime": day, **given, **more}


def bundle(*resources: Resource, **more: Any) -> Resource:
    """A collection of these."""
    entries = [{"resource": each} for each in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries, **more}


def stream(content: Any) -> io.BytesIO:
    """A file with this: text as it is, anything else as JSON."""
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    return io.BytesIO(text.encode() if isinstance(text, str) else text)


def read(
    *contents: Any, per: Literal["patient", "encounter"] = "patient", account: Account | None = None
) -> list[Read]:
    """The records of these files; the account adds up."""
    account = account or Account()
    inputs = [(f"file{place}", stream(each)) for place, each in enumerate(contents)]
    reads = list(read_fhir(inputs, per=per, account=account, today=TODAY))
    assert account.balanced(), account
    return reads


def one(*resources: Resource) -> Vignette:
    """The vignette of p1 with these resources, which must be read."""
    (found,) = read(bundle(PATIENT, *resources))
    assert found.vignette is not None, found.error
    return found.vignette


def fault(*resources: Resource) -> tuple[str, str]:
    """(code, path) of the error for which the record of p1 is set aside."""
    (found,) = read(bundle(PATIENT, *resources))
    assert found.error is not None
    return found.error.code, found.error.path
