"""Consultations brought to their conclusion by the workers' own code, with the answers a test gives."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

from celery import Celery

from tests.accepted import consultations_of, owed_by, recommendation
from tests.workers.chat_server import Server, completion
from workers import answering, concluding, flow
from workers.context import Context

Lists = Sequence[tuple[str, ...]]
"""The drugs of each seat's answer."""


def graded(
    ctx: Context, app: Celery, server: Server, submission: uuid.UUID, answers: Sequence[Lists]
) -> None:
    """Every consultation of the submission is answered and reviewed, and not concluded yet."""
    for consultation, lists in zip(consultations_of(ctx, submission), answers, strict=True):
        for owed_id, drugs in zip(owed_by(ctx, consultation), lists, strict=True):
            decision = "recommend" if drugs else "no_medication"
            server.body = completion(recommendation(*drugs, decision=decision))
            assert answering.answer(ctx, owed_id) is None
        flow.go_on(ctx, app, consultation)
        for number, owed_id in enumerate(owed_by(ctx, consultation, "review")):
            server.body = completion(json.dumps({"grade": round(0.93 - 0.117 * number, 3), "critique": ""}))
            assert answering.answer(ctx, owed_id) is None


def conclude(ctx: Context, submission: uuid.UUID) -> None:
    """All of it."""
    for consultation in consultations_of(ctx, submission):
        assert concluding.conclude(ctx, consultation)
