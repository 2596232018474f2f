"""`consilium sources clients`: who signs for short-lived tokens instead of holding a key."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated

import typer

from db.queries import api_clients
from producers.api.assertions import public_keys
from producers.cli.acts import audit, source_named
from producers.cli.common import Format, NotFound, database, emit, err
from producers.cli.keys import Scopes, scopes
from shared.errors import SettingsError

app = typer.Typer(
    help="Clients of sources that sign for tokens (SMART Backend Services).", no_args_is_help=True
)


@app.command("add")
def add(
    source: Annotated[str, typer.Argument(help="For whom it comes.")],
    jwks: Annotated[Path, typer.Option(help="Its public keys, a JWK Set; no address of keys is fetched.")],
    name: Annotated[str, typer.Option(help="What it is, to tell clients apart.")] = "client",
    scope: Scopes = None,
) -> None:
    """Register a client by its public keys; its id is printed, alone on standard output."""
    wanted = scopes(scope)
    if not 0 < len(name) <= 100:
        raise SettingsError("--name has 1 to 100 characters")
    try:
        given = json.loads(jwks.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--jwks: {jwks} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise SettingsError(f"--jwks: {jwks} is no JSON") from None
    keys = public_keys(given)
    with database() as session:
        whose = source_named(session, source)
        client_id = api_clients.add(session, whose.id, name, keys, wanted)
        audit(session, "client.add", f"{client_id} {' '.join(wanted)}", whose.id)
    print(client_id)


@app.command("list")
def list_(
    source: Annotated[str | None, typer.Argument(help="Of this source only.")] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """All clients with the names (kid) of their keys."""
    with database() as session:
        found = api_clients.listed(session, source_named(session, source).id if source else None)
    rows = [
        {
            **{name: getattr(each, name) for name in ("id", "source", "name", "scopes", "keys")},
            "state": "revoked" if each.revoked_at else "good",
            "since": f"{each.created_at:%Y-%m-%d %H:%M}Z",
        }
        for each in found
    ]
    emit(rows, format_)


@app.command("revoke")
def revoke(client: Annotated[uuid.UUID, typer.Argument(help="The client's id.")]) -> None:
    """The client gets no token from now on, and those that it has open nothing."""
    with database() as session:
        source_id = api_clients.revoke(session, client)
        if source_id is None:
            raise NotFound(f"no client {client} is in use: `consilium sources clients list` shows them")
        audit(session, "client.revoke", str(client), source_id)
    err.print(f"client {client} and its tokens open nothing any more", highlight=False)
