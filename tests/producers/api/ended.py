"""Consultations that have ended, for what reads them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import replace

from celery import Celery

from tests import accepted
from tests.producers.api.conftest import Door
from tests.producers.concluded import conclude, graded
from tests.workers.chat_server import Server
from workers.context import Context

KNEE = {
    "id": "knee",
    "vignette": "A man of seventy has had a painful knee for a week.",
    "context": {"age": 70, "sex": "male", "medications": [{"name": "Coumadin 5 mg"}]},
    "gold": {"required": [{"any_of": ["acetaminophen"]}], "never": ["ibuprofen"]},
}
"""Two of three want ibuprofen beside warfarin."""
ANSWERS = (("acetaminophen", "ibuprofen"), ("acetaminophen", "ibuprofen"), ("naproxen",))
BAD = b'{"id": "bad-1", "vignette": "short"}'


def knees(n: int) -> list[bytes]:
    """So many of it, under ids of their own."""
    return [json.dumps({**KNEE, "id": f"knee-{k}"}).encode() for k in range(n)]


def concluded(door: Door, app: Celery, server: Server, lines: Iterable[bytes] | int = 1) -> uuid.UUID:
    """A finished submission of these (or so many knees), worked on as workers do; its id."""
    url = door.ctx.settings.require_database()
    ctx = replace(accepted.context(url, server.url), vault=door.ctx.vault)
    submission = accepted.submit(ctx, knees(lines) if isinstance(lines, int) else lines)
    graded(ctx, app, server, submission, [ANSWERS] * len(accepted.consultations_of(ctx, submission)))
    conclude(ctx, submission)
    _finish(ctx)
    return submission


def end(ctx: Context, *consultations: uuid.UUID, reason: str = "no_quorum") -> None:
    """They fail as workers would have them fail; their submissions finish where nothing is open."""
    accepted.ask(
        ctx,
        "UPDATE consultations SET state = 'failed', stage = 'ended', reason = %s, held = NULL, "
        "ended_at = now() WHERE id = ANY(%s)",
        *(reason, list(consultations)),
    )
    _finish(ctx)


def _finish(ctx: Context) -> None:
    accepted.ask(
        ctx,
        "UPDATE submissions s SET state = 'finished', finished_at = now() WHERE state = 'open' AND NOT "
        "EXISTS (SELECT FROM consultations c WHERE c.submission_id = s.id AND c.state = 'open')",
    )
