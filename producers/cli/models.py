"""`consilium models`: the registry, and whether each model answers."""

from __future__ import annotations

import json
import time
import uuid
from typing import Annotated, Any

import typer

from db.queries import model_states, pauses
from db.queries.model_states import State
from db.queries.pauses import Paused
from producers.cli.acts import audit, suggest
from producers.cli.common import Away, Format, NotFound, database, emit, listening, out, registry
from producers.nudge import send
from shared.broker import CHECK_CHANNEL, CHECK_MODEL, MESSAGE_VERSION, model_queue
from shared.errors import SettingsError
from shared.registry import Model
from shared.settings import get_settings

LIMITS = ("max_in_flight", "requests_per_minute", "tokens_per_minute")
MOST = 2**31 - 1

app = typer.Typer(help="The models of models.toml.", invoke_without_command=True)


@app.callback()
def list_(
    context: typer.Context, format_: Annotated[Format, typer.Option("--format")] = Format.table
) -> None:
    """All models in the registry, their limits, and how it stands with each."""
    if context.invoked_subcommand is not None:
        return
    models = registry()
    states: dict[str, State] = {}
    paused = Paused(everything=False, sources=frozenset(), models=frozenset())
    if get_settings().database_url is not None:  # a models.toml can be looked at before anything runs
        with database() as session:
            states, paused = model_states.states(session), pauses.paused(session)
    rows = [_row(model, states.get(model.name, State(model.name)), paused) for model in models.values()]
    _emit(rows, format_)


def _emit(rows: list[dict[str, Any]], format_: Format) -> None:
    people = format_ is Format.table
    emit([{name: row[name] for name in SHOWN} for row in rows] if people else rows, format_)


SHOWN = (
    *("name", "location", "usd_per_mtok_in", "usd_per_mtok_out", "in_flight", "learned_limit"),
    *("max_in_flight", "requests_per_minute", "tokens_per_minute", "breaker", "paused"),
)
"""Columns for people; programs get all."""


def _row(model: Model, state: State, paused: Paused) -> dict[str, Any]:
    return {
        "name": model.name,
        "family": model.family,
        "location": model.location,
        "provider": model.provider,
        "simulated": model.simulated,
        "deadline_s": model.deadline_s,
        "usd_per_mtok_in": _price(model.usd_per_mtok_in),
        "usd_per_mtok_out": _price(model.usd_per_mtok_out),
        # an operator's word before that of models.toml; None: no limit but what is learned
        **{name: _effective(getattr(state, name), getattr(model, name)) for name in LIMITS},
        "set_by_operator": [name for name in LIMITS if getattr(state, name) is not None],
        "in_flight": state.in_flight,
        "learned_limit": state.learned_limit,
        "looked_at": state.looked_at,
        "breaker": _breaker(state),
        "paused": paused.everything or model.name in paused.models,
    }


def _effective(set_: int | None, given: int | None) -> int | None:
    return given if set_ is None else set_


def _breaker(state: State) -> str:
    if state.opened_at is None:
        return "closed"
    word = "half-open" if state.probe_in_s == 0 else "open"
    return f"{word} since {state.opened_at:%Y-%m-%d %H:%M:%S}Z"


def _price(price: Any) -> float | None:
    return None if price is None else float(price)


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="A model of models.toml.")],
    max_in_flight: Annotated[str | None, typer.Option(help="Calls at once, or none.")] = None,
    requests_per_minute: Annotated[str | None, typer.Option(help="Calls a minute, or none.")] = None,
    tokens_per_minute: Annotated[str | None, typer.Option(help="Tokens a minute, or none.")] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Set limits for all workers, within seconds; `none` goes back to what models.toml says."""
    given = {
        "max_in_flight": max_in_flight,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
    }
    changes = {limit: _limit(limit, value) for limit, value in given.items() if value is not None}
    if not changes:
        raise SettingsError("say what to set: --max-in-flight, --requests-per-minute or --tokens-per-minute")
    models = registry()
    if name not in models:
        raise NotFound(f"no model named {name!r} in models.toml: {suggest(name, models)}")
    with database() as session:
        model_states.set_limits(session, name, **changes)
        words = " ".join(f"{limit}={'none' if to is None else to}" for limit, to in changes.items())
        audit(session, "models.set", f"{words} {name}")
        state, paused = model_states.states(session)[name], pauses.paused(session)
    _emit([_row(models[name], state, paused)], format_)
    if format_ is Format.table:
        out.print(
            f"\n{words} for {name}: in force on all workers within seconds\nnext: consilium models",
            highlight=False,
        )


def _limit(limit: str, value: str) -> int | None:
    if value.lower() == "none":
        return None
    if not value.isascii() or not value.isdecimal() or not 1 <= int(value) <= MOST:
        option = f"--{limit.replace('_', '-')}"
        raise SettingsError(f"{option} is a whole number from 1 to {MOST}, or none")
    return int(value)


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
