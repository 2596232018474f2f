"""`models check`: one short question to one model, from a worker, since only workers hold the keys."""

from __future__ import annotations

import json
import time

from sqlalchemy import text

from shared import prompts
from shared.broker import CHECK_CHANNEL
from shared.errors import ModelError
from workers.clients import client_for
from workers.context import Context

NOTIFY = text("SELECT pg_notify(:channel, :payload)")
CASE = "A healthy adult asks for nothing. This is a test of the connection: answer no_medication."


def check_model(ctx: Context, check_id: str, name: str) -> None:
    """Ask, and tell on `CHECK_CHANNEL`: ok, seconds, returned name or kind of error. Nothing is stored."""
    told: dict[str, object] = {"check": check_id, "model": name, "ok": False}
    model = ctx.registry.get(name)
    if model is None:
        told["error"] = "not in the worker's models.toml"
    else:
        began = time.monotonic()
        try:
            reply = client_for(model).ask(
                model,
                prompts.generate_messages(prompts.GENERATE, CASE),
                schema_name="recommendation",
                schema=prompts.GENERATE.schema,
                request_id=f"{check_id}:1",
            )
            told |= {"ok": True, "returned": reply.returned}
        except ModelError as error:
            told["error"] = f"{error.kind}: {error}"
        told["seconds"] = round(time.monotonic() - began, 2)
    with ctx.transaction() as session:
        session.execute(NOTIFY, {"channel": CHECK_CHANNEL, "payload": json.dumps(told)})
