"""Whether this process serves: asked by whoever starts it or puts a proxy before it; needs no key."""

from __future__ import annotations

import asyncio
from typing import Literal

import anyio
from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as NoAnswer

from db.engine import transaction
from producers.api.access import Site

router = APIRouter(tags=["health"])
ANSWERS = text("SELECT 1")
WITHIN_S = 3.0
"""A database that has not answered by then is away for whoever balances load."""


class Health(BaseModel):
    """It serves."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def healthz(request: Request) -> Health:
    """200 where the database answers too, within 3 s, else 503.

    That work flows is told by the site's own /healthz.
    """
    # none of the routes' threads, which a database that hangs holds all; one of its own, whoever asks
    state = request.app.state
    if (asking := getattr(state, "asking", None)) is None or asking.done():
        own = anyio.CapacityLimiter(1)
        asking = asyncio.ensure_future(anyio.to_thread.run_sync(_ask, state.site, limiter=own))
        asking.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait for it
        state.asking = asking
    try:
        with anyio.fail_after(WITHIN_S):
            await asyncio.shield(asking)
    except TimeoutError:
        raise NoAnswer from None
    return Health()


def _ask(site: Site) -> None:
    with transaction(site.settings.require_database()) as session:
        session.execute(ANSWERS)
