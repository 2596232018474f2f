"""Records: what stands of one, and erasing it for good."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from db.queries import erasing
from producers.api.access import Operating, Reading
from producers.api.problems import documented, not_found

router = APIRouter(tags=["records"])


class RecordState(BaseModel):
    """One record of a submission, without any text: ids, states, times."""

    record: uuid.UUID
    submission: uuid.UUID
    line: int = Field(description="Of the input, 1-based.", examples=[17])
    state: Literal["accepted", "set_aside"]
    error_code: str | None = Field(description="Why it was set aside.", examples=["duplicate_id"])
    text: Literal["kept", "purged", "erased"] = Field(
        description="`purged`: past the site's retention. `erased`: on request. Neither can be read again."
    )
    erased_at: datetime | None
    consultation: uuid.UUID | None
    consultation_state: Literal["open", "completed", "needs_review", "failed", "cancelled"] | None
    reason: str | None = Field(description="Why its consultation ended so.", examples=["erased"])


@router.get("/records/{record_id}", responses=documented(401, 403, 404, 422, 429))
def record(record_id: uuid.UUID, desk: Reading) -> RecordState:
    """What stands of a record."""
    with desk.read() as session:
        found = erasing.standing(session, record_id)
    if found is None:
        raise not_found()
    return RecordState(**found)


@router.delete("/records/{record_id}", responses=documented(401, 403, 404, 422, 429))
def erase(record_id: uuid.UUID, desk: Operating) -> RecordState:
    """Erase a record: its text and all that was said about it can never be read again.

    What was open is cancelled, its key is destroyed, and your own id may be sent again. Ids, numbers, costs
    and ingredient codes stay. Again is the same as once. To stop what has not begun and keep its text, cancel
    the submission instead.
    """
    with desk.write() as session:
        found = erasing.erase(session, record_id, who=desk.who)
    if found is None:
        raise not_found()
    return RecordState(**found)
