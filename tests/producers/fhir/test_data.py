"""All FHIR data that lies beside the project, with a result for each record: every resource is valid R4."""

from __future__ import annotations

import gzip
import io
import json
import uuid
from collections.abc import Iterable
from pathlib import Path

import pytest

from producers.fhir import resources_of
from producers.readers.fhir import read_fhir
from shared.schemas import Vignette
from tests.producers.fhir.r4 import valid
from tests.producers.fhir.results import findings, order, refused, row, told
from tests.shared_data import NOT_HERE, SHARED_DATA

FHIR = SHARED_DATA / "fhir"
READ = ("Patient", "AllergyIntolerance", "Condition", "MedicationRequest", "Encounter")
LIST = ("amoxicillin", "ibuprofen", "simvastatin")
pytestmark = pytest.mark.skipif(not FHIR.is_dir(), reason=NOT_HERE)


def inputs(files: Iterable[Path]) -> list[tuple[str, io.BytesIO]]:
    """Files as one input, unzipped; of Bundles what tells whose it is, what he has and what he takes.

    All the rest is read in the reader's own tests, and would be most of the time here.
    """
    found = []
    for path in files:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if path.parent.name.startswith("synthea"):
            bundle = json.loads(content)
            bundle["entry"] = [e for e in bundle["entry"] if e["resource"]["resourceType"] in READ]
            content = json.dumps(bundle).encode()
        found.append((path.name, io.BytesIO(content)))
    return found


def subjects_of(vignette: Vignette) -> set[str]:
    """The patients of whom the resources of a result speak, all checked."""
    answers = [order(drug, dose="1 tablet", indication="pain") for drug in LIST] + [order("aspirin", "stop")]
    of = row(
        id=vignette.id,
        recommendation=list(LIST),
        stop=["aspirin"],
        findings=findings(vignette, *LIST),
        consultation=str(uuid.uuid5(uuid.NAMESPACE_OID, vignette.id)),
    )
    found = valid(resources_of(of, told(answers, vignette=vignette)))
    assert len(found["MedicationRequest"]) == 4
    subjects = [each["subject"] for each in found["MedicationRequest"]]
    subjects += [each["patient"] for each in found["DetectedIssue"]]
    return {each["reference"] for each in subjects}


def files(folder: str) -> list[Path]:
    """What of a folder makes one input; the interaction requests hold one patient again and again."""
    if folder == "pddi_cds":
        names = ("warfarin-nsaids-order-sign-no-coordination.json", "patient-bundle.json")
        return [FHIR / folder / name for name in names]
    return sorted((FHIR / folder).iterdir())


@pytest.mark.parametrize(
    ("folder", "records"),
    [
        ("bulk_export_ndjson", 5),
        ("pddi_cds", 1),
        ("synthea_r4_bundles", 20),
        ("synthea_r4_polypharmacy", 1),  # the others have died
        ("us_core_examples", 1),
    ],
)
def test_every_record_gives_valid_resources(folder: str, records: int) -> None:
    """Each about its own patient, as the source refers to him; what is set aside gives an outcome."""
    given = inputs(files(folder))
    sent = b"".join(stream.getvalue() for _, stream in given)
    subjects = []
    for read in read_fhir(given):
        if read.vignette is not None:
            [subject] = subjects_of(read.vignette)
            assert f'"{subject.removeprefix("Patient/")}"'.encode() in sent
            subjects.append(subject)
        else:
            assert read.error is not None
            error = read.error
            refusal = refused(error_code=error.code, error_path=error.path, reason=error.reason)
            [outcome] = valid(resources_of(refusal, None))["OperationOutcome"]
            assert outcome["issue"][0]["details"]["text"] == error.reason
    assert len(subjects) == len(set(subjects)) == records


def test_an_encounter_is_referred_to_as_it_was_sent() -> None:
    """A record for each encounter: the patient is the same, the encounter its own."""
    path = next((FHIR / "synthea_r4_bundles").glob("Kermit*"))
    given = inputs([path])
    seen = set()
    for read in read_fhir(given, per="encounter"):
        assert read.vignette is not None
        known = told([order("aspirin")], vignette=read.vignette)
        [request] = valid(resources_of(row(recommendation=["aspirin"]), known))["MedicationRequest"]
        assert request["encounter"]["reference"] == f"Encounter/{read.vignette.id}"
        assert request["subject"]["reference"] == "Patient/1f456f0a-acb1-4728-82af-01ca57083c7b"
        assert read.vignette.id.encode() in given[0][1].getvalue()
        seen.add(read.vignette.id)
    assert len(seen) > 1
