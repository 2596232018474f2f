"""Chemistry snapshots, to read: who works well with whom. They are the site's and belong to no source."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from db.queries import snapshots
from producers.api.access import Reading
from producers.api.addresses import address
from producers.api.paging import LINK, After, Limit, id_in, tell_next
from producers.api.problems import documented, not_found
from shared.chemistry.snapshot import Basis, ModelLearned

router = APIRouter(prefix="/chemistry", tags=["chemistry"])


class SnapshotSummary(BaseModel):
    """One snapshot without its content; it never changes."""

    id: uuid.UUID
    number: int = Field(description="Counts up; the highest is in force.")
    form: str = Field(examples=["default"])
    purposes: list[str] = Field(description="Of the history that it was learned from.", examples=[["care"]])
    span_from: datetime | None = Field(description="The oldest row of that history.")
    span_to: datetime | None
    rows_read: int
    digest: str = Field(description="SHA-256 of what it was learned from.")
    created_at: datetime


class Pair(BaseModel):
    """Two models in one kind of task."""

    a: str = Field(examples=["birch-large"])
    b: str = Field(examples=["oak-large"])
    together: float = Field(description="Consultations that both answered, by weight.")
    chemistry: float | None = Field(
        description="Size of the cost-based number, 0 to 1; null: no context counts."
    )
    sign: Literal[-1, 0, 1] = Field(description="-1 synergy, +1 antagonism.")
    context: list[str]
    effect: float = Field(description="Above 0: wrong together less often than their own rates say.")
    effect_se: float


class Learned(BaseModel):
    """One kind of task, or the parent that kinds lean on."""

    basis: Basis = Field(description="What models are ranked by.")
    consultations: float
    models: dict[str, ModelLearned]
    pairs: list[Pair]
    strength: dict[str, float]
    families: list[tuple[str, str, float, float]] = Field(
        description="Two families, and the pooled effect of their pairs with its standard error."
    )


class Content(BaseModel):
    """What was learned."""

    kinds: dict[str, Learned] = {}
    parents: dict[str, Learned] = {}


class Snapshot(SnapshotSummary):
    """One snapshot with its content."""

    parameters: dict[str, Any] = Field(description="Of its computation.")
    content: Content


@router.get(
    "",
    name="chemistry",
    response_model=list[SnapshotSummary],
    responses={200: {"headers": {"Link": LINK}}, **documented(401, 403, 422)},
)
def listed(
    desk: Reading, request: Request, response: Response, limit: Limit = 20, after: After = None
) -> list[dict[str, Any]]:
    """The site's snapshots of chemistry, newest first, page by page."""
    with desk.read() as session:
        found = snapshots.listed(session, "chemistry", after=id_in(after), most=limit + 1)
    if len(found) > limit:
        tell_next(response, address(desk.site, request, "chemistry"), found[limit - 1]["id"], limit=limit)
    return list(found[:limit])


@router.get("/{snapshot_id}", response_model=Snapshot, responses=documented(401, 403, 404, 422))
def snapshot(desk: Reading, snapshot_id: uuid.UUID) -> dict[str, Any]:
    """One snapshot: each model's value and each pair's effect, by kind of task."""
    with desk.read() as session:
        found = snapshots.of_site(session, "chemistry", snapshot_id)
    if found is None:
        raise not_found()
    return {**vars(found), "content": found.body}
