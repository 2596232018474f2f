"""How far a submission is, and what came out of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from db.queries import reports
from producers.api.access import Reading
from producers.api.problems import documented

router = APIRouter(tags=["submissions"])


@router.get("/submissions", responses=documented(401, 403))
def submissions(desk: Reading) -> list[dict[str, Any]]:
    """The newest submissions of your source."""
    with desk.read() as session:
        return list(reports.submissions(session))
