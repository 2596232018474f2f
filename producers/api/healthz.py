"""Whether this process serves: asked by whoever starts it or puts a proxy before it; needs no key."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from sqlalchemy import text

from db.engine import transaction
from producers.api.access import Site, site

router = APIRouter(tags=["health"])
ANSWERS = text("SELECT 1")


class Health(BaseModel):
    """It serves."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
def healthz(site: Annotated[Site, Depends(site)]) -> Health:
    """200 where the database answers too, else 503; that work flows is told by the site's own /healthz."""
    with transaction(site.settings.require_database()) as session:
        session.execute(ANSWERS)
    return Health()
