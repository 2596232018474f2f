"""How far a submission is: the list, the FHIR asynchronous pattern, and a plain status."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from db.queries import reports
from db.queries.progress import ModelCalls
from producers.api.access import Desk, Reading
from producers.api.addresses import address
from producers.api.paging import LINK, After, Limit, id_in, tell_next
from producers.api.problems import documented, not_found
from producers.progress import Progress, look

router = APIRouter(tags=["submissions"])
State = Literal["receiving", "open", "finished", "rejected", "cancelled"]
FHIR_TYPES = ("MedicationRequest", "DetectedIssue", "Provenance")
FEWEST_S, MOST_S, UNKNOWN_S = 2, 60, 10
"""Bounds of Retry-After, and what it says while nobody can tell."""

_ID = "01a1ffd5-3d44-70eb-884b-61b822b8b1f0"
_URL = f"https://consilium.example/v1/submissions/{_ID}"


class Counts(BaseModel):
    """Consultations by stage while they are open, and by state at their end; together with `set_aside` they
    add up to `records`."""

    records: int = Field(description="Records of the input.", examples=[500])
    set_aside: int = Field(description="Records that could not be accepted.", examples=[3])
    waiting: int = Field(description="Open: waits for its turn.", examples=[120])
    generating: int = Field(description="Open: models answer.", examples=[40])
    reviewing: int = Field(description="Open: models grade each other's answers.", examples=[20])
    concluding: int = Field(description="Open: the lists are worked out.", examples=[5])
    completed: int = Field(description="Ended with a recommendation.", examples=[290])
    needs_review: int = Field(description="Ended; a person must look, and why is said.", examples=[20])
    failed: int = Field(description="Ended without a recommendation.", examples=[2])
    cancelled: int = Field(description="Ended because somebody cancelled it.", examples=[0])


class SubmissionSummary(BaseModel):
    """A submission in a list."""

    id: uuid.UUID = Field(examples=[_ID])
    state: State
    purpose: str = Field(examples=["care"])
    priority: str = Field(examples=["routine"])
    strategy: str = Field(description="How the models of each ensemble are chosen.", examples=["CHEMISTRY"])
    n: int = Field(description="Models in an ensemble.")
    received_at: datetime
    finished_at: datetime | None
    records: int
    set_aside: int
    open: int
    completed: int
    needs_review: int
    failed: int
    cancelled: int


class Running(BaseModel):
    """Not all has ended: ask again after `Retry-After` seconds."""

    id: uuid.UUID = Field(examples=[_ID])
    state: State
    counts: Counts
    held: dict[str, int] = Field(
        description="Open ones that wait for something else than their turn, by what holds them.",
        examples=[{"budget": 12}],
    )
    seconds_left: float | None = Field(
        description="To the estimated end; null: cannot be told.", examples=[95.0]
    )


class Output(BaseModel):
    """One file."""

    type: str = Field(description="A FHIR resource type; `Result` and `Error` are our own schema, as NDJSON.")
    url: str = Field(examples=[f"{_URL}/results"])
    count: int | None = Field(None, description="Lines of the file, where that is known.")


class Manifest(BaseModel):
    """All has ended: where the results are (FHIR Bulk Data Access, response to a complete status)."""

    transaction_time: datetime = Field(
        serialization_alias="transactionTime", description="When the last of it ended."
    )
    request: str = Field(
        description="The address that it was sent to.", examples=["https://consilium.example/v1/submissions"]
    )
    requires_access_token: Literal[True] = Field(True, serialization_alias="requiresAccessToken")
    output: list[Output]
    error: list[Output]
    state: State
    counts: Counts


class Status(Running):
    """A submission at this moment, whatever its state."""

    purpose: str = Field(examples=["care"])
    strategy: str = Field(examples=["CHEMISTRY"])
    n: int = Field(examples=[3])
    received_at: datetime
    seconds: float = Field(description="From its receipt to now, or to its end.")
    for_a_person: dict[str, int] = Field(
        description="Ended ones that need a person, by `state: reason`.",
        examples=[{"needs_review: severe_finding": 2}],
    )
    per_minute: float | None = Field(description="Ends a minute since the start.")
    spent_usd: str | None = Field(
        description="Of calls of known cost; null: no call's cost is known.", examples=["0.02133770"]
    )
    projected_usd: str | None = Field(description="What all will have cost, by those that ended.")
    budget_usd: str | None = Field(description="The cap; null: there is none.")
    calls_not_priced: int
    models: list[ModelCalls] = Field(description="What each model was asked, by name.")


_PROGRESS = {"description": "How many have ended, in words.", "schema": {"type": "string"}}
_RETRY = {"description": "Seconds to wait before asking again.", "schema": {"type": "integer"}}


@router.get(
    "/submissions",
    name="submissions",
    response_model=list[SubmissionSummary],
    responses={200: {"headers": {"Link": LINK}}, **documented(401, 403, 422)},
)
def submissions(
    desk: Reading,
    request: Request,
    response: Response,
    limit: Limit = 20,
    after: After = None,
    state: State | None = None,
) -> list[dict[str, Any]]:
    """The submissions of your source, newest first, page by page."""
    with desk.read() as session:
        found = reports.listed(session, after=id_in(after), state=state, most=limit + 1)
    if len(found) > limit:
        here = address(desk.site, request, "submissions")
        tell_next(response, here, found[limit - 1]["id"], limit=limit, state=state)
    return list(found[:limit])


@router.get(
    "/submissions/{submission_id}",
    name="submission",
    response_model=Manifest,
    response_model_exclude_none=True,
    responses={
        202: {
            "model": Running,
            "description": "Not all has ended.",
            "headers": {"X-Progress": _PROGRESS, "Retry-After": _RETRY},
        },
        **documented(401, 403, 404, 422),
    },
)
def submission(desk: Reading, submission_id: uuid.UUID, request: Request) -> Manifest | JSONResponse:
    """The FHIR asynchronous pattern: 202 until all has ended, then 200 with the files.

    Records that were set aside do not make it fail: they are lines of the error files.
    """
    found = progress_of(desk, submission_id, counted=False)
    if not ended(found):
        body = Running(**_running(found))
        headers = {"X-Progress": in_words(found), "Retry-After": str(_retry_s(found))}
        return JSONResponse(body.model_dump(mode="json"), 202, headers)
    return _manifest(found, partial(address, desk.site, request))


@router.get(
    "/submissions/{submission_id}/status",
    response_model=Status,
    responses=documented(401, 403, 404, 422),
)
def status(desk: Reading, submission_id: uuid.UUID) -> Status:
    """Counts, what is held and why, what failed and why, cost: always 200, running or not."""
    found = progress_of(desk, submission_id)
    [batch], told = found.batches, found.for_programs()
    names = ("for_a_person", "seconds", "per_minute", "spent_usd", "projected_usd", "budget_usd")
    return Status(
        **_running(found),
        **{name: getattr(batch, name) for name in ("purpose", "strategy", "n", "received_at")},
        **{name: told[name] for name in (*names, "calls_not_priced")},
        models=list(found.calls),
    )


def progress_of(desk: Desk, submission_id: uuid.UUID, *, counted: bool = True) -> Progress:
    """A submission now; not `counted`: without its calls, which is cheap. Raises `Problem` 404."""
    stale_s = desk.site.settings.heartbeat_stale_s
    with desk.read() as session:
        found = look(session, [submission_id], None if counted else (), stale_s=stale_s)
    if not found.batches:
        raise not_found()
    return found


def ended(found: Progress) -> bool:
    """Whether nothing is to come: what is cancelled lets those that have begun go on."""
    return found.finished and found.ended == found.total


def in_words(found: Progress) -> str:
    """What X-Progress says."""
    [batch] = found.batches
    if batch.state == "receiving":
        return f"receiving: {batch.records} records so far"
    return f"{found.ended} of {found.total} ended"


def _running(found: Progress) -> dict[str, Any]:
    [batch] = found.batches
    return {
        "id": batch.id,
        "state": batch.state,
        "counts": Counts(records=batch.records, set_aside=batch.set_aside, **found.counts),
        "held": found.held,
        "seconds_left": None if batch.state == "receiving" else found.left_s,
    }


def _retry_s(found: Progress) -> int:
    """A tenth of the time that is left, within bounds."""
    left_s = _running(found)["seconds_left"]
    return UNKNOWN_S if left_s is None else min(MOST_S, max(FEWEST_S, math.ceil(left_s / 10)))


def _manifest(found: Progress, url: Callable[..., str]) -> Manifest:
    [batch] = found.batches
    fhir = {
        type_: url("fhir", submission_id=batch.id, resource_type=type_)
        for type_ in (*FHIR_TYPES, "OperationOutcome")
    }
    own = {name: url(name, submission_id=batch.id) for name in ("results", "errors")}
    concluded = found.counts["completed"] + found.counts["needs_review"]
    output = [Output(type=type_, url=fhir[type_]) for type_ in FHIR_TYPES if concluded]
    error = []
    if batch.records:
        output.append(Output(type="Result", url=own["results"], count=batch.records))
        error.append(Output(type="OperationOutcome", url=fhir["OperationOutcome"]))
    if batch.set_aside:
        error.append(Output(type="Error", url=own["errors"], count=batch.set_aside))
    return Manifest(
        transaction_time=batch.received_at + timedelta(seconds=batch.age_s),
        request=url("submissions"),
        output=output,
        error=error,
        state=batch.state,
        counts=Counts(records=batch.records, set_aside=batch.set_aside, **found.counts),
    )
