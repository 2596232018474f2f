"""Files → resources: every form in which FHIR comes, and and records for encounters."""

from __future__ import annotations

import datetime as dt
import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from producers.readers.fhir import Account, looks_like_fhir, read_fhir
from producers.readers.fhir import source as sources
from tests.producers.readers.fhir.made import (
    PATIENT,
    allergy,
    bundle,
    coded,
    condition,
    order,
    read,
    stream,
    value,
)

GOUT = condition("Gout")


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(bundle(PATIENT, GOUT)),
        json.dumps(bundle(PATIENT, GOUT), indent=2),
        "\ufeff\n" + json.dumps(bundle(PATIENT, GOUT), indent=1),
        json.dumps([PATIENT, GOUT]),
        f"{json.dumps(PATIENT)}\r\n\r\n{json.dumps(GOUT)}",
        f"{json.dumps(bundle(PATIENT))}\n{json.dumps(bundle(GOUT))}\n",
        json.dumps({"resourceType": "Bundle", "entry": [PATIENT, GOUT, {"request": {"method": "DELETE"}}]}),
        json.dumps(bundle(bundle(PATIENT), bundle(GOUT))),
        json.dumps({"hook": "order-sign", "context": {}, "prefetch": {"a": PATIENT, "b": bundle(GOUT)}}),
    ],
)
def test_every_form_gives_the_same_record(content: str) -> None:
    """Bundles on one line or many, marked, in each other; NDJSON; arrays; the request of a hook."""
    (found,) = read(content)
    assert found.vignette is not None, found.error
    assert found.vignette.context.conditions == ["Gout"]


def test_files_in_any_order_are_one_input() -> None:
    """An allergy before its patient, a urn:uuid in the Bundle of a transaction."""
    name = "0c2a34a4-d948-4917-98b8-f44a77e459d8"
    sent = {"fullUrl": f"urn:uuid:{name}", "resource": PATIENT}  # its id is another
    about = {"reference": f"urn:uuid:{name}"}
    transaction = {"resourceType": "Bundle", "entry": [{"resource": condition("Gout", subject=about)}, sent]}
    reads = read(allergy("Latex", patient={"reference": "https://x.test/fhir/Patient/p1"}), transaction)
    (found,) = reads
    assert found.vignette is not None
    assert (found.vignette.context.conditions, found.vignette.context.allergies) == (["Gout"], ["Latex"])


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('<?xml version="1.0"?>\n<Patient xmlns="http://hl7.org/fhir"/>', "fhir_xml"),
        ("", "empty"),
        ("\n\n", "empty"),
        ('{\n "resourceType": "Bundle",\n', "not_json"),
        ('{"resourceType": "Patient", "id": NaN}', "not_json"),
        ('{"resourceType": "Patient", "id": "a", "id": "b"}', "duplicate_field"),
        ('{"id": "a"}', "not_fhir"),
        ("7", "not_fhir"),
        (b'{"resourceType": "Pati\xff"}', "not_utf8"),
        ('{"a":' * 100_000, "not_json"),
        ('{"resourceType": "Bundle", "entry": 7}', "fhir_element"),
        ('{"resourceType": "Bundle", "entry": [7]}', "not_fhir"),
    ],
)
def test_what_is_no_fhir_is_refused_with_a_reason(content: str | bytes, code: str) -> None:
    """One error for it, and the next file is read all the same."""
    account = Account()
    reads = read(content, bundle(PATIENT, GOUT), account=account)
    assert [each.error.code for each in reads if each.error] == [code]
    assert account.unreadable == {code: 1}
    assert sum(each.vignette is not None for each in reads) == 1


def test_a_document_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a line and as a file of many lines; the line after it is read."""
    monkeypatch.setattr(sources, "MAX_DOCUMENT", 3000)
    long = {**GOUT, "note": "x" * 4000}
    for content in (
        f"{json.dumps(PATIENT)}\n{json.dumps(long)}\n{json.dumps(GOUT)}",
        json.dumps(long, indent=1),
    ):
        reads = read(content)
        assert next(each.error.code for each in reads if each.error and not each.vignette) == "too_long"


def test_a_search_that_goes_on_elsewhere_is_said() -> None:
    """The next page is missing; with it there is no error."""
    first = bundle(PATIENT, link=[{"relation": "self", "url": "u1"}, {"relation": "next", "url": "u2"}])
    second = bundle(GOUT, link=[{"relation": "self", "url": "u2"}])
    assert [each.error.code for each in read(first, GOUT) if each.error] == ["incomplete"]
    assert not any(each.error for each in read(first, second))


def test_whether_it_looks_like_fhir() -> None:
    """By the first object or the first bytes; a vignette that speaks of FHIR is none."""
    assert looks_like_fhir(PATIENT)
    assert looks_like_fhir(json.dumps(bundle(PATIENT), indent=2).encode()[:200])
    assert looks_like_fhir(b'\xef\xbb\xbf <Patient xmlns="http://hl7.org/fhir">')
    vignette = {"id": "a", "vignette": 'see "resourceType": "Patient" in the export'}
    assert not looks_like_fhir(vignette)
    assert not looks_like_fhir(json.dumps(vignette).encode())
    assert not looks_like_fhir(b"id,vignette\n")


def test_an_order_that_a_hook_asks_about_is_not_taken() -> None:
    """Although its status is active: it stands in the context, not in the prefetch."""
    request = {
        "hook": "medication-prescribe",
        "context": {"patientId": "p1", "medications": bundle(order("Naproxen"))},
        "prefetch": {"a": {"response": {"status": "200"}, "resource": bundle(PATIENT, order("Warfarin"))}},
    }
    (found,) = read(request)
    assert found.vignette is not None
    assert [each.name for each in found.vignette.context.medications] == ["Warfarin"]
    assert "not yet given: Naproxen" in found.vignette.vignette


def visit(name: str, day: str, **more: Any) -> dict[str, Any]:
    """An Encounter of p1."""
    about = {
        "subject": {"reference": "Patient/p1"},
        "status": "finished",
        "period": {"start": day, "end": day},
    }
    return {"resourceType": "Encounter", "id": name, **about, **more}


def test_a_vignette_for_each_encounter_tells_what_was_known_then() -> None:
    """Encounters with an order, a diagnosis or a reason; later facts are not told, ended ones still stand."""
    at = {"encounter": {"reference": "Encounter/e2"}}
    reads = read(
        bundle(
            PATIENT,
            visit("e1", "2020-03-01", reasonCode=[coded("Cough")]),
            visit("e2", "2024-03-01"),
            visit("e3", "2024-04-01"),
            visit("e4", "2024-05-01", status="cancelled", reasonCode=[coded("Cough")]),
            condition("Asthma", "resolved", onsetDateTime="2019-01-01", abatementDateTime="2021-01-01"),
            condition("Gout", onsetDateTime="2023-01-01"),
            order("Codeine", "stopped", authoredOn="2019-05-05"),
            order("Aspirin", "stopped", authoredOn="2024-03-01", **at),
            value("2823-3", 4.1, "mmol/L", "2020-02-02"),
            value("2823-3", 5.6, "mmol/L", "2024-02-02"),
        ),
        per="encounter",
    )
    first, second = (each.vignette for each in reads)
    assert first is not None
    assert second is not None
    assert (first.id, first.context.age, first.context.conditions) == ("e1", 59, ["Asthma"])
    assert first.context.medications == []
    assert "reason: Cough" in first.vignette
    assert "potassium 4.1" in first.vignette
    assert (second.id, second.context.age, second.context.conditions) == ("e2", 63, ["Gout"])
    assert [each.name for each in second.context.medications] == ["Aspirin"]
    assert "Earlier conditions: Asthma" in second.vignette
    assert "potassium 5.6" in second.vignette
    assert second.identity.date == dt.date(2024, 3, 1)


def test_a_patient_without_such_an_encounter_is_not_dropped() -> None:
    """He is set aside with the reason."""
    (found,) = read(bundle(PATIENT, GOUT, visit("e1", "2020-01-01")), per="encounter")
    assert found.error is not None
    assert found.error.code == "no_encounter"


class Export(io.RawIOBase):
    """An export that is made while it is read: patients with much that a vignette does not tell."""

    def __init__(self, patients: int) -> None:
        self.size, self._left = 0, b""
        self._lines = self._made(patients)

    def _made(self, patients: int) -> Iterator[bytes]:
        for place in range(patients):
            about = {"subject": {"reference": f"Patient/n{place}"}, "extension": [{"url": "x" * 2000}]}
            yield json.dumps({**PATIENT, "id": f"n{place}"}).encode() + b"\n"
            for day in range(10, 28):
                potassium = value("2823-3", day, "mmol/L", f"2025-01-{day}")
                yield json.dumps({**potassium, **about}).encode() + b"\n"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._left or next(self._lines, b"")
        self._left = block[len(buffer) :]
        block = block[: len(buffer)]
        buffer[: len(block)] = block
        self.size += len(block)
        return len(block)


def test_an_export_is_read_without_holding_its_resources() -> None:
    """The peak of memory is a small share of the bytes that went through."""
    export = Export(30)
    tracemalloc.start()
    try:
        count = sum(each.vignette is not None for each in read_fhir([("export", io.BufferedReader(export))]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 30
    assert export.size > 1_000_000
    assert peak < export.size / 4


def test_the_same_input_gives_the_same_records() -> None:
    """Byte by byte: idempotency stands on it."""
    content = json.dumps(bundle(PATIENT, GOUT, order("Aspirin"), allergy("Latex"), value("2823-3", 4)))
    assert read(content) == read(content)
    assert stream(content).read() == content.encode()
