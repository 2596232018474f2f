"""`consilium sources`: who sends, and who may read their patients."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from db.ids import new_id
from db.tables import Audit, Source
from producers.cli import clients, keys
from producers.cli.acts import audit, source_named, suggest
from producers.cli.common import Format, database, emit, err, out, registry
from shared.errors import SettingsError
from shared.policy import Policy

app = typer.Typer(help="Sources: who sends, and which models may read their patients.", no_args_is_help=True)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

app.add_typer(keys.app, name="keys")
app.add_typer(clients.app, name="clients")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="A short name, unique on this site.")],
    allow: Annotated[
        list[str] | None,
        typer.Option(help="local, simulated, remote; repeat for several. Default: local and simulated."),
    ] = None,
    deny: Annotated[list[str] | None, typer.Option(help="A model that may not; repeat for several.")] = None,
) -> None:
    """Add a source. Nothing leaves the house unless its policy says so."""
    if not _NAME.fullmatch(name):
        raise SettingsError(
            "NAME has letters, digits, '.', '_' and '-' alone, at most 63, and begins with one of the first "
            "two: it stands in commands and addresses, and stays"
        )
    words: dict[str, list[str]] = {"allow": allow or [], "deny": deny or []}
    try:
        policy = Policy.model_validate({name: given for name, given in words.items() if given})
    except ValidationError:
        raise SettingsError("--allow is one of local, simulated, remote") from None
    try:
        with database() as session:
            source_id = new_id()
            session.execute(
                insert(Source).values(id=source_id, name=name, policy=policy.model_dump(mode="json"))
            )
            session.execute(
                insert(Audit).values(source_id=source_id, who="cli", what="source.add", which=str(source_id))
            )
    except IntegrityError:
        raise SettingsError(f"there is a source named {name!r} already") from None
    out.print(f"source {name}: {', '.join(sorted(policy.allow))} models may read its patients")


@app.command("list")
def list_(format_: Annotated[Format, typer.Option("--format")] = Format.table) -> None:
    """All sources with their policies."""
    with database() as session:
        found = session.execute(select(Source).order_by(Source.name)).scalars().all()
    rows = [
        {
            "name": s.name,
            **Policy.model_validate(s.policy).model_dump(),
            "since": f"{s.created_at:%Y-%m-%d %H:%M}Z",
        }
        for s in found
    ]
    emit(rows, format_)


NOTHING = "none"
"""What empties a list of names."""


@app.command("policy")
def policy(
    name: Annotated[str, typer.Argument(help="The source.")],
    allow: Annotated[
        list[str] | None, typer.Option(help="local, simulated, remote, or none; repeat for several.")
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(help="A model that may not, or none; repeat for several.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="No models but these, or none: any; repeat for several.")
    ] = None,
    mask: Annotated[
        str | None, typer.Option(help="strict, structured or off: who it is about, for remote models.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Show a source's policy, or change what is named; the rest of it stays.

    It takes effect at the next draw and at the next claim, also for work that is accepted already.
    """
    given = {"allow": allow, "deny": deny, "only": only}
    with database() as session:
        source = source_named(session, name)
        before = Policy.model_validate(source.policy)
        changes: dict[str, object] = {
            key: _list(key, words) for key, words in given.items() if words is not None
        }
        if mask is not None:
            changes["mask"] = mask
        _check_names([*(deny or ()), *(only or ())])
        try:
            after = Policy.model_validate({**before.model_dump(), **changes})
        except ValidationError:
            raise SettingsError(
                "--allow is one of local, simulated, remote; --mask is one of strict, structured, off"
            ) from None
        if after != before:
            source.policy = after.model_dump(mode="json")
            told = "; ".join(f"{key} {_said(getattr(after, key))}" for key in changes)
            audit(session, "source.policy", f"{source.id} {told}", source.id)
    if format_ is not Format.table:
        emit([{"name": name, **after.model_dump()}], format_)
        return
    for key, value in after.model_dump().items():
        mark = "  (changed)" if value != before.model_dump()[key] else ""
        out.print(f"{key:6} {_said(value)}{mark}", highlight=False)
    if "remote" in after.allow and after.mask == "off":
        err.print(
            "its patients' names go to remote models as they stand: --mask strict masks them", style="yellow"
        )


LIMITS = {"requests_per_minute": 2**31 - 1, "max_records": 2**31 - 1, "max_bytes": 2**63 - 1}
"""What a source may send over HTTP, and what each column holds at most."""


@app.command("limits")
def limits(
    name: Annotated[str, typer.Argument(help="The source.")],
    requests_per_minute: Annotated[str | None, typer.Option(help="Requests over HTTP, or none.")] = None,
    max_records: Annotated[str | None, typer.Option(help="Records of one submission, or none.")] = None,
    max_bytes: Annotated[str | None, typer.Option(help="Bytes of one body, unpacked, or none.")] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Show what a source may send over HTTP, or change what is named; `none`: as the settings say."""
    given = {
        "requests_per_minute": requests_per_minute,
        "max_records": max_records,
        "max_bytes": max_bytes,
    }
    with database() as session:
        source = source_named(session, name)
        changes = {key: _limit(key, word) for key, word in given.items() if word is not None}
        changes = {key: value for key, value in changes.items() if value != getattr(source, key)}
        for key, value in changes.items():
            setattr(source, key, value)
        if changes:
            told = "; ".join(f"{key} {NOTHING if value is None else value}" for key, value in changes.items())
            audit(session, "source.limits", f"{source.id} {told}", source.id)
        row = {"name": name, **{key: getattr(source, key) for key in LIMITS}}
    emit([row], format_)


def _limit(key: str, word: str) -> int | None:
    if word == NOTHING:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", word) or not 0 < int(word) <= LIMITS[key]:
        raise SettingsError(f"--{key.replace('_', '-')} is a number from 1 to {LIMITS[key]}, or {NOTHING}")
    return int(word)


def _list(option: str, words: list[str]) -> list[str] | None:
    """The names of an option; `none` alone empties it (and lifts `only`)."""
    if words != [NOTHING]:
        return words
    return None if option == "only" else []


def _check_names(names: list[str]) -> None:
    """A name that no model has would forbid nothing."""
    known = registry()
    for name in names:
        if name != NOTHING and name not in known:
            raise SettingsError(f"no model {name!r} in models.toml: {suggest(name, list(known))}")


def _said(value: object) -> str:
    if value is None:
        return "any"
    return ", ".join(value) or NOTHING if isinstance(value, list | tuple) else str(value)
