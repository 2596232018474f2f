"""A concluded submission's resources, from the database: with its texts opened, page by page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery

from producers import fhir
from producers.fhir import told
from producers.results import pages
from tests import accepted
from tests.accepted import TRIO, ask, submit
from tests.producers.concluded import conclude, graded
from tests.producers.fhir.r4 import valid
from tests.workers.chat_server import Server

LINES = [
    {
        "id": "knee",
        "vignette": "A man of seventy has had a painful knee for a week.",
        "context": {"age": 70, "sex": "male", "medications": [{"name": "Coumadin 5 mg"}]},
        "identity": {"patient": "Patient/77"},
    },
    {"id": "cold", "vignette": "A man of thirty has had a cold for three days."},
    {"id": "short"},
]
ANSWERS = ((("acetaminophen", "foozumab"),) * 3, ((),) * 3)


def test_what_was_concluded_is_told(
    database_url: str, app: Celery, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name and patient come from sealed texts; after its key is gone only the erasure is told."""
    ctx = accepted.context(database_url, server.url)
    submission = submit(ctx, [json.dumps(line).encode() for line in LINES])
    graded(ctx, app, server, submission, ANSWERS)
    conclude(ctx, submission)

    def made(*types: str) -> list[dict[str, Any]]:
        with ctx.transaction() as session:
            rows = [row for page in pages(ctx.transaction, ctx.vault, submission) for row in page]
            return list(fhir.resources(session, ctx.vault, rows, types))

    found = valid(made())
    names = {each["medicationCodeableConcept"]["text"] for each in found["MedicationRequest"]}
    assert names == {"acetaminophen", "foozumab"}
    assert {each["subject"]["reference"] for each in found["MedicationRequest"]} == {"Patient/77"}
    assert all("warfarin, taken already" in json.dumps(each) for each in found["DetectedIssue"])
    [provenance] = found["Provenance"]
    agents = [each["who"]["display"] for each in provenance["agent"]]
    assert sorted(agent.split()[0] for agent in agents[:3]) == sorted(TRIO)
    assert agents[3] == "Consilium, consensus mean"
    assert all(agent.endswith("simulated") for agent in agents[:3])
    assert [each["issue"][0]["code"] for each in found["OperationOutcome"]] == ["informational", "required"]
    assert made("Provenance") == [provenance]
    whole = made()
    monkeypatch.setattr(told, "CHUNK", 1)
    assert made() == whole
    ask(ctx, "UPDATE clinical_documents SET key_id = NULL")
    ask(ctx, "DELETE FROM data_keys")
    found = valid(made())
    assert not found["MedicationRequest"]
    assert [each["issue"][0]["code"] for each in found["OperationOutcome"]] == ["deleted"] * 2 + ["required"]
