"""`consilium models`: the registry, and whether each model answers."""

from __future__ import annotations

import json
import time
import uuid
from typing import Annotated, Any

import typer

from producers.cli.common import Away, Format, emit, listening, registry
from producers.nudge import send
from shared.broker import CHECK_CHANNEL, CHECK_MODEL, MESSAGE_VERSION, model_queue
from shared.registry import Model
from shared.settings import get_settings

app = typer.Typer(help="The models of models.toml.", invoke_without_command=True)


@app.callback()
def list_(
    context: typer.Context, format_: Annotated[Format, typer.Option("--format")] = Format.table
) -> None:
    """All models in the registry."""
    if context.invoked_subcommand is None:
        emit([_row(model) for model in registry().values()], format_)


def _row(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "family": model.family,
        "location": model.location,
        "provider": model.provider,
        "simulated": model.simulated,
        "deadline_s": model.deadline_s,
        "usd_per_mtok_in": _price(model.usd_per_mtok_in),
        "usd_per_mtok_out": _price(model.usd_per_mtok_out),
    }


def _price(price: Any) -> float | None:
    return None if price is None else float(price)


@app.command("check")
def check(
    timeout_s: Annotated[float, typer.Option(help="How long to wait for all answers, in seconds.")] = 60,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Ask each model one short question, through the queue that serves it: only workers hold the keys.

    Exit code 1 if one does not answer.
    """
    settings = get_settings()
    models = registry()
    check_id = str(uuid.uuid4())
    answers: dict[str, dict[str, Any]] = {}
    with listening(CHECK_CHANNEL) as connection:
        for model in models.values():
            queue = model_queue(model.location, urgent=False)
            if not send(settings, CHECK_MODEL, (MESSAGE_VERSION, check_id, model.name), queue):
                raise Away("the broker cannot be reached: is `consilium up` running?")
        give_up_at = time.monotonic() + timeout_s
        while len(answers) < len(models) and (rest := give_up_at - time.monotonic()) > 0:
            for event in connection.notifies(timeout=rest, stop_after=1):
                told = json.loads(event.payload)
                if told.pop("check") == check_id:
                    answers[told["model"]] = told
    rows = [
        answers.get(name, {"model": name, "ok": False, "error": "no worker answered in time"})
        for name in models
    ]
    columns = ("model", "ok", "returned", "seconds", "error")
    emit([{name: row.get(name) for name in columns} for row in rows], format_)
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)
