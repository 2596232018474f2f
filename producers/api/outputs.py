"""What came out of a submission, streamed page by page: our own NDJSON, and FHIR."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from producers.api.access import Desk, Reading
from producers.api.problems import documented
from producers.api.status import ended, in_words, progress_of
from producers.fhir import resources
from producers.results import pages
from shared.safety.finding import Finding

router = APIRouter(tags=["results"])
NDJSON, FHIR_NDJSON = "application/x-ndjson", "application/fhir+ndjson"
FhirType = Literal["MedicationRequest", "DetectedIssue", "Provenance", "OperationOutcome"]

_EXAMPLE: dict[str, Any] = {
    "line": 3,
    "id": "case-3",
    "state": "needs_review",
    "reason": "severe_finding",
    "error_code": None,
    "error_path": None,
    "kind": "medication/cardiology",
    "recommendation": ["apixaban"],
    "stop": [],
    "minority": ["warfarin"],
    "findings": [],
    "grade": 0.92,
    "variance": 0.0064,
    "agreement": 0.67,
    "confidence": 0.81,
    "right": None,
    "seats": 3,
    "answered": 3,
    "substituted": 0,
    "simulated": False,
    "consultation": "01a1ffd5-3dac-7996-9098-61ae29a00ada",
    "record": "01a1ffd5-3dac-7b88-92b5-798dda784fe4",
    "erased_at": None,
}


class Result(BaseModel):
    """One line: what became of one record of the input. The same as `consilium results --format ndjson`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    line: int = Field(description="Line of the input, from 1.")
    id: str | None = Field(description="The record's id as you sent it; null: set aside, or erased.")
    state: Literal["completed", "needs_review", "failed", "cancelled", "open", "set_aside"]
    reason: str | None = Field(description="Why a person must look, why it failed or was set aside.")
    error_code: str | None = Field(description="Of a record that was set aside.")
    error_path: str | None = Field(description="Where in it.")
    kind: str | None = Field(description="The kind of task.", examples=["medication/cardiology"])
    recommendation: list[str] | None = Field(
        description="Ingredients to start; null: nothing is concluded.", examples=[["apixaban"]]
    )
    stop: list[str] | None = Field(description="Ingredients to stop.")
    minority: list[str] | None = Field(description="Ingredients that a minority wants.")
    findings: list[Finding] | None = Field(description="What the safety rules find with the list.")
    grade: float | None = Field(description="Consensus grade of the best answer, 0 to 1.")
    variance: float | None = Field(description="Of that grade.")
    agreement: float | None = Field(description="Mean pairwise Jaccard of the seats' lists, 0 to 1.")
    confidence: float | None = Field(description="P(the list is right), calibrated; null: not known.")
    right: bool | None = Field(description="Whether it was, where the record came with what is right.")
    seats: int | None = Field(description="Models that were asked.")
    answered: int | None = Field(description="Models that answered.")
    substituted: int | None = Field(description="Seats that changed hands.")
    simulated: bool | None = Field(description="Whether simulated models answered.")
    consultation: uuid.UUID | None = Field(description="See GET /v1/consultations/{id}.")
    record: uuid.UUID = Field(description="Our id of the record, by which it can be erased.")
    erased_at: datetime | None = Field(description="When it was erased on request.")


_HEADERS = {
    "X-Progress": {
        "description": "Only while not all has ended: the answer is what there is so far.",
        "schema": {"type": "string"},
    }
}


def _streams(media_type: str, schema: dict[str, Any], what: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"description": what, "headers": _HEADERS, "content": {media_type: {"itemSchema": schema}}},
        **documented(401, 403, 404, 422),
    }


_OWN = {"$ref": "#/components/schemas/Result"}


@router.get(
    "/submissions/{submission_id}/results",
    name="results",
    response_class=StreamingResponse,
    responses=_streams(NDJSON, _OWN, "A line for each record of the input, in its order."),
)
def results(desk: Reading, submission_id: uuid.UUID) -> StreamingResponse:
    """A line for each record of the input, in its order, accepted or not; also while not all has ended."""
    return _answer(desk, submission_id, "results", _lines(_rows(desk, submission_id)))


@router.get(
    "/submissions/{submission_id}/errors",
    name="errors",
    response_class=StreamingResponse,
    responses=_streams(NDJSON, _OWN, "A line for each record that was set aside, in the input's order."),
)
def errors(desk: Reading, submission_id: uuid.UUID) -> StreamingResponse:
    """What was set aside, with code, path, reason and line."""
    rows = _rows(desk, submission_id, set_aside=True)
    return _answer(desk, submission_id, "errors", _lines(rows))


@router.get(
    "/submissions/{submission_id}/fhir/{resource_type}",
    name="fhir",
    response_class=StreamingResponse,
    responses=_streams(FHIR_NDJSON, {"type": "object"}, "A FHIR R4 resource a line, in the input's order."),
)
def fhir(desk: Reading, submission_id: uuid.UUID, resource_type: FhirType) -> StreamingResponse:
    """Results as FHIR R4: drafts for a clinician's review, never orders."""

    def made(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        with desk.read() as session:
            return list(resources(session, desk.site.vault, rows, (resource_type,)))

    found = (made(rows) for rows in _rows(desk, submission_id))
    return _answer(desk, submission_id, resource_type, _lines(found), FHIR_NDJSON)


def _rows(desk: Desk, submission_id: uuid.UUID, *, set_aside: bool = False) -> Iterator[list[dict[str, Any]]]:
    return pages(desk.read, desk.site.vault, submission_id, set_aside=set_aside)


def _lines(pages: Iterable[list[dict[str, Any]]]) -> Iterator[bytes]:
    for page in pages:
        yield "".join(f"{json.dumps(row)}\n" for row in page).encode()


def _answer(
    desk: Desk, submission_id: uuid.UUID, what: str, body: Iterator[bytes], media_type: str = NDJSON
) -> StreamingResponse:
    """The stream; 404 comes before its first byte, and what is told of progress is older than its lines."""
    found = progress_of(desk, submission_id, counted=False)
    desk.audit("results.export", f"{submission_id} {what}")
    headers = {} if ended(found) else {"X-Progress": in_words(found)}
    return StreamingResponse(body, media_type=media_type, headers=headers)
