"""Outcomes come back: what a clinician made of a proposal, and what share of the proposals has one."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

from db.queries import audit, outcomes
from db.queries.outcomes import Proposed
from producers.api.access import Desk, Reading, Submitting
from producers.api.problems import Problem, documented, not_found
from producers.decisions import Decision, decided
from producers.fhir.taken import taken
from shared.errors import RecordError
from shared.measures import in_codes
from shared.schemas import Gold, GoldItem, Text

router = APIRouter(tags=["outcomes"])
JSON, FHIR = "application/json", "application/fhir+json"
MAX_BYTES = 1024 * 1024
_NAMES = {"decision", "list", "gold", *Gold.model_fields, *GoldItem.model_fields}
"""Of a bad body's fields only these are told: others are the sender's words."""


class Decided(BaseModel):
    """A clinician's decision on what a consultation proposed."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{"decision": "edited", "list": ["apixaban 5 mg", "metoprolol"]}]},
    )

    decision: Decision = Field(
        description="accepted: the same drugs, whatever the dose; edited: others; rejected: none of them."
    )
    drugs: list[Text] | None = Field(
        None,
        alias="list",
        max_length=200,
        description="What was given, by name; may be left out where it follows from the decision.",
    )
    gold: Gold | None = Field(
        None,
        description="What turned out to be right, in definition list-1, where that is known as well. A "
        "combination that is required is met by all of its ingredients together.",
    )


class Stored(BaseModel):
    """What is known now."""

    consultation: uuid.UUID
    decision: Decision
    added: bool = Field(description="false: the same was known before.")


class Share(BaseModel):
    """Concluded consultations of one purpose: how many have an outcome, and how these differ from the rest.

    Means of the best answer's grade and of the seats' agreement are in [0, 1]; null: there are none.
    """

    purpose: str
    concluded: int
    with_outcome: int
    share: float = Field(ge=0, le=1)
    gold: int
    clinician: int
    imported: int
    accepted: int = Field(description="By the newest decision of a clinician.")
    edited: int
    rejected: int
    grade_with: float | None
    grade_without: float | None
    agreement_with: float | None
    agreement_without: float | None
    drugs_with: float | None = Field(description="Mean number of drugs proposed.")
    drugs_without: float | None


async def _body(request: Request) -> bytes:
    """The body, of at most `MAX_BYTES`. Raises `Problem` (413; 415: it is packed)."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        plain = {"Accept-Encoding": "identity"}
        raise Problem(415, "an outcome is not unpacked: send it as it is", type_="unsupported", headers=plain)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise Problem(413, f"an outcome is at most {MAX_BYTES} bytes: send one consultation's alone")
    return bytes(body)


_BODY = {
    "required": True,
    "content": {
        JSON: {"schema": {"$ref": "#/components/schemas/Decided"}},
        FHIR: {
            "schema": {"type": "object"},
            "example": {
                "resourceType": "MedicationRequest",
                "status": "active",
                "intent": "order",
                "basedOn": [{"reference": "MedicationRequest/3f0c9a52-6d1e-5b7e-9a57-0d6f4f1f2a11"}],
                "medicationCodeableConcept": {"text": "apixaban 5 mg tablet"},
                "subject": {"reference": "Patient/example"},
            },
        },
    },
}


@router.post(
    "/consultations/{consultation_id}/outcome",
    status_code=201,
    responses={
        200: {"model": Stored, "description": "The same was known before: nothing was added."},
        **documented(401, 403, 404, 409, 413, 415, 422),
    },
    openapi_extra={"requestBody": _BODY},
)
def outcome(
    desk: Submitting,
    consultation_id: uuid.UUID,
    request: Request,
    body: Annotated[bytes, Depends(_body)],
    response: Response,
) -> Stored:
    """What the clinician made of the proposal; the newest counts, and nothing is overwritten.

    As JSON, or as FHIR: a MedicationRequest, an array or a Bundle of them, `basedOn` our MedicationRequests
    or with the consultation as `groupIdentifier`. Active, on-hold and completed ones were taken; cancelled,
    stopped and entered-in-error ones were not, as what is not sent. Dosage is not looked at.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (JSON, FHIR):
        raise Problem(415, f"an outcome is {JSON} or {FHIR}", type_="media-type")
    with desk.write() as session:
        proposed = outcomes.proposed(session, consultation_id)
        if proposed is None:
            raise not_found()
        if proposed.refined is None:
            raise Problem(
                409, "nothing was proposed yet: send it when it is concluded", type_="not-concluded"
            )
        try:
            said = (
                _ours(body)
                if media_type == JSON
                else taken(body, str(consultation_id), proposed.refined, proposed.stops or ())
            )
            decision, added = _store(desk, session, consultation_id, proposed, said)
        except RecordError as error:
            where = {"where": error.path, "reason": error.reason}
            raise _invalid("the body is no answer to what was proposed", [where]) from None
    response.status_code = 201 if added else 200
    return Stored(consultation=consultation_id, decision=decision, added=added)


@router.get("/outcomes", responses=documented(401, 403))
def shares(desk: Reading) -> list[Share]:
    """What share of your concluded consultations has an outcome, and how these differ from the rest."""
    with desk.read() as session:
        return [Share(**row) for row in outcomes.shares(session)]


def _ours(body: bytes) -> Decided:
    """Our own JSON. Raises `Problem` 422."""
    try:
        return Decided.model_validate_json(body)
    except ValidationError as error:
        errors = [
            {"where": ".".join(part for part in map(str, each["loc"]) if part in _NAMES or part.isdigit())}
            | {"reason": each["type"]}
            for each in error.errors(include_input=False, include_url=False)
        ]
        raise _invalid("the body is no decision as documented", errors) from None


def _invalid(detail: str, errors: list[dict[str, Any]]) -> Problem:
    return Problem(422, detail, type_="invalid", errors=errors)


def _store(
    desk: Desk, session: Session, id_: uuid.UUID, proposed: Proposed, said: Decided | list[str]
) -> tuple[Decision, bool]:
    """(the decision, whether anything was added). Raises `RecordError`."""
    key = desk.site.vault.site_key.digest("unknown drug")
    word, names, more = (
        (None, said, None) if isinstance(said, list) else (said.decision, said.drugs, said.gold)
    )
    decision, gold = decided(word, names, proposed.refined or (), key)
    added = outcomes.add(session, id_, proposed.source_id, "clinician", gold, decision)
    if more is not None:
        added |= outcomes.add(session, id_, proposed.source_id, "gold", in_codes(more, key))
    if added:
        audit.record(session, desk.who, "outcome", str(id_), proposed.source_id)
    return decision, added
