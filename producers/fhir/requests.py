"""MedicationRequests: what the ensemble would start or stop. Drafts and proposals, never active.

FHIR R4 (4.0.1), 11.1: status draft, intent proposal; what should stop is a request with doNotPerform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from producers.case_lists import reason
from producers.fhir.elements import (
    Resource,
    encounter,
    id_of,
    identifier,
    instant,
    medication,
    meta,
    subject,
    text,
)
from shared.medications import normalise
from shared.schemas import Medication

if TYPE_CHECKING:
    from producers.fhir.told import Told

PREPARED = "Prepared by language models for a clinician's review: a proposal, not an order."
SIMULATED = "Answered by simulated models: for tests only."


def request_id(consultation: str, code: str, *, stop: bool = False) -> str:
    """The id of the request about an ingredient."""
    return id_of(consultation, "MedicationRequest", "stop" if stop else "start", code)


def requests(row: Mapping[str, Any], told: Told) -> list[Resource]:
    """One for each drug of the list, then one for each that should stop."""
    starts = [_request(row, told, code, stop=False) for code in row["recommendation"]]
    return [*starts, *(_request(row, told, code, stop=True) for code in row["stop"])]


def _request(row: Mapping[str, Any], told: Told, code: str, *, stop: bool) -> Resource:
    lists = [answer.stops if stop else answer.starts for answer in told.answers]
    written = [orders[code] for orders in lists if code in orders]  # the best answer's first
    first = written[0] if written else None
    id_ = request_id(row["consultation"], code, stop=stop)
    dose = "" if stop else next(filter(None, map(_dose, written)), "")
    why = next(filter(None, (text(each.indication) for each in written)), "")
    at = encounter(told.vignette)
    return {
        "resourceType": "MedicationRequest",
        "id": id_,
        **meta(row["simulated"]),
        "identifier": [identifier(id_)],
        "status": "draft",
        "intent": "proposal",
        "category": [{"text": row["kind"]}],
        **({"doNotPerform": True} if stop else {}),
        "medicationCodeableConcept": medication(code, first.name if first else None),
        "subject": subject(told.vignette),
        **({"encounter": at} if at else {}),
        "authoredOn": instant(told.concluded_at),
        **({"reasonCode": [{"text": why}]} if why else {}),
        "groupIdentifier": identifier(row["consultation"]),
        "note": [{"text": each} for each in _notes(row, told, written, dose)],
        **({"dosageInstruction": [{"text": dose}]} if dose else {}),
    }


def _dose(order: Medication) -> str:
    """Dose, route and frequency as written; of a combination with its name, for the dose is the whole's."""
    said = text(order.dose, order.route, order.frequency)
    whole = len(normalise(order.name).ingredients) > 1
    return text(said, f"(of {order.name})") if said and whole else said


def _notes(row: Mapping[str, Any], told: Told, written: Sequence[Medication], dose: str) -> list[str]:
    others = sorted({each for each in map(_dose, written) if each} - {dose}) if dose else []
    return [
        PREPARED,
        f"Named by {len(written)} of {len(told.answers)} answers.",
        *([f"Other answers give: {'; '.join(others)}."] if others else []),
        *([f"A clinician must look: {reason(row['reason'])}."] if row["reason"] else []),
        *([SIMULATED] if row["simulated"] else []),
    ]
