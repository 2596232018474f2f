"""`consilium pause` and `consilium resume`: nothing new begins for all, a source or a model."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from db.queries import pauses
from db.queries.pauses import Scope
from producers.cli.acts import audit, go_on, source_named, suggest
from producers.cli.common import Format, NotFound, database, emit, out, registry
from shared.errors import SettingsError

SourceName = Annotated[str | None, typer.Option("--source", help="Only this source; see `sources list`.")]
ModelName = Annotated[str | None, typer.Option("--model", help="Only this model; see `models`.")]
AsFormat = Annotated[Format, typer.Option("--format")]


def pause(source: SourceName = None, model: ModelName = None, format_: AsFormat = Format.table) -> None:
    """Begin nothing new: for everything, a source, or a model. Calls in flight end; nothing is lost."""
    scope, name = _scope(source, model)
    with database() as session:
        source_id = _known(session, scope, name)
        changed = pauses.pause(session, scope, name)
        if changed:
            audit(session, "pause", f"{scope} {name}".strip(), source_id)
    go_back = " ".join(["consilium resume", *([f"--{scope} {name}"] if name else [])])
    what = _words(scope, name)
    said = f"{what} paused: calls in flight end, nothing new begins" if changed else f"{what} paused already"
    _tell(scope, name, changed, f"{said}\nnext: {go_back}", format_)


def resume(source: SourceName = None, model: ModelName = None, format_: AsFormat = Format.table) -> None:
    """Lift a pause: what waited for it goes on at once."""
    scope, name = _scope(source, model)
    with database() as session:
        changed = pauses.resume(session, scope, name)
        if changed:
            audit(session, "resume", f"{scope} {name}".strip(), _id_of(session, scope, name))
        else:
            _known(session, scope, name)
        left = pauses.paused(session)
    if changed:
        go_on()
    what = _words(scope, name)
    said = f"{what} resumed" if changed else f"{what} not paused: nothing to resume"
    still = [
        *(["everything"] if left.everything else []),
        *(f"source {n}" for n in sorted(left.sources)),
        *(f"model {n}" for n in sorted(left.models)),
    ]
    if still:
        said += f"\nstill paused: {', '.join(still)}"
    _tell(scope, name, changed, f"{said}\nnext: consilium status", format_)


def _scope(source: str | None, model: str | None) -> tuple[Scope, str]:
    if source is not None and model is not None:
        raise SettingsError("--source and --model are two pauses: give one at a time")
    if source is not None:
        return "source", source
    return ("all", "") if model is None else ("model", model)


def _known(session: Session, scope: Scope, name: str) -> uuid.UUID | None:
    """The id where it is a source's name. Raises `NotFound` for a name that is nobody's."""
    if scope == "model" and name not in (models := registry()):
        raise NotFound(f"no model named {name!r} in models.toml: {suggest(name, models)}")
    return _id_of(session, scope, name)


def _id_of(session: Session, scope: Scope, name: str) -> uuid.UUID | None:
    return source_named(session, name).id if scope == "source" else None


def _words(scope: Scope, name: str) -> str:
    return "everything is" if scope == "all" else f"{scope} {name} is"


def _tell(scope: Scope, name: str, changed: bool, said: str, format_: Format) -> None:
    if format_ is Format.table:
        out.print(said, highlight=False, markup=False)
    else:
        emit([{"scope": scope, "name": name, "changed": changed}], format_)
