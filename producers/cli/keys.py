"""`consilium sources keys`: by what a source comes in over the network. A key is shown once, when made."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Annotated

import typer

from db.queries import api_keys
from db.queries.api_keys import SCOPES
from producers.cli.acts import age, audit, source_named
from producers.cli.common import Format, NotFound, database, emit, err
from shared.errors import SettingsError

app = typer.Typer(help="Keys of sources for the HTTP API.", no_args_is_help=True)

Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help="submit, read or operate; repeat for several. Default: all."),
]
Lasts = Annotated[str | None, typer.Option(help="Such as 90d or 12h. Default: until it is revoked.")]
LONGEST = timedelta(days=36_500)
"""Above this PostgreSQL's dates would end."""


@app.command("add")
def add(
    source: Annotated[str, typer.Argument(help="Whose key it is.")],
    name: Annotated[str, typer.Option(help="What holds it, to tell keys apart.")] = "key",
    scope: Scopes = None,
    lasts: Lasts = None,
) -> None:
    """Make a key: it is printed once, alone on standard output, and cannot be shown again."""
    wanted, until = scopes(scope), period(lasts, "--lasts")
    if not 0 < len(name) <= 100:
        raise SettingsError("--name has 1 to 100 characters")
    with database() as session:
        whose = source_named(session, source)
        key_id, token = api_keys.add(session, whose.id, name, wanted, until)
        audit(session, "key.add", f"{key_id} {' '.join(wanted)}", whose.id)
    _show(key_id, token)


@app.command("list")
def list_(
    source: Annotated[str | None, typer.Argument(help="Of this source only.")] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """All keys without their secrets."""
    with database() as session:
        found = api_keys.listed(session, source_named(session, source).id if source else None)
    rows = [
        {
            **{name: getattr(key, name) for name in ("id", "source", "name", "scopes", "state")},
            "since": f"{key.created_at:%Y-%m-%d %H:%M}Z",
            "until": f"{key.expires_at:%Y-%m-%d %H:%M}Z" if key.expires_at else None,
        }
        for key in found
    ]
    emit(rows, format_)


@app.command("rotate")
def rotate(
    key: Annotated[uuid.UUID, typer.Argument(help="The key's id, as `list` shows it.")],
    overlap: Annotated[str, typer.Option(help="So long the old one goes on working.")] = "7d",
    lasts: Annotated[str | None, typer.Option(help="Of the new one. Default: as the old one.")] = None,
) -> None:
    """Make a key in the place of another: it works at once, and the old one until the overlap is over."""
    both, until = period(overlap, "--overlap", least=timedelta(0)), period(lasts, "--lasts")
    assert both is not None
    with database() as session:
        made = api_keys.rotate(session, key, both, until)
        if made is None:
            raise _no_such(key)
        source_id, key_id, token = made
        audit(session, "key.rotate", f"{key} to {key_id}", source_id)
    _show(key_id, token)
    err.print(f"the old key works for {overlap} more at most: change it where it is used", highlight=False)


@app.command("revoke")
def revoke(key: Annotated[uuid.UUID, typer.Argument(help="The key's id, as `list` shows it.")]) -> None:
    """The key opens nothing from now on."""
    with database() as session:
        source_id = api_keys.revoke(session, key)
        if source_id is None:
            raise _no_such(key)
        audit(session, "key.revoke", str(key), source_id)
    err.print(f"key {key} opens nothing any more", highlight=False)


def scopes(given: list[str] | None) -> list[str]:
    """The scopes that were asked for, all by default. Raises `SettingsError`."""
    if not given:
        return list(SCOPES)
    if unknown := set(given) - set(SCOPES):
        raise SettingsError(f"--scope {min(unknown)!r}: it is one of {', '.join(SCOPES)}")
    return [each for each in SCOPES if each in given]


def period(given: str | None, option: str, least: timedelta = timedelta(seconds=1)) -> timedelta | None:
    """A period such as 90d; None where none was given. Raises `SettingsError`."""
    found = age(given, option)
    if found is not None and not least <= found <= LONGEST:
        raise SettingsError(f"{option} is a period such as 12h or 90d, {LONGEST.days}d at most")
    return found


def _show(key_id: uuid.UUID, token: str) -> None:
    print(token)
    err.print(f"key {key_id}: shown this once, of its secret only a digest is kept", highlight=False)


def _no_such(key: uuid.UUID) -> NotFound:
    return NotFound(f"no key {key} is in use: `consilium sources keys list` shows them")
