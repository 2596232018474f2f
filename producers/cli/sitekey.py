"""`consilium sitekey`: the site's key is rotated while everything goes on."""

from __future__ import annotations

from typing import Annotated

import typer

from db.queries import rotating
from producers.cli.acts import audit
from producers.cli.common import Format, database, emit, out, vault
from shared.errors import SettingsError
from shared.sealing import SiteKey
from shared.settings import get_settings

app = typer.Typer(no_args_is_help=True, help="The site's key: what it has wrapped, and rotating it.")
AsFormat = Annotated[Format, typer.Option("--format")]


@app.command()
def status(format_: AsFormat = Format.table) -> None:
    """How many stored keys another site key has wrapped."""
    site_key = vault().site_key
    with database() as session:
        left = rotating.left(session, site_key)
    _tell(site_key, None, left, format_)


@app.command()
def rotate(format_: AsFormat = Format.table) -> None:
    """Wrap every stored key by CONSILIUM_SITE_KEY, whatever CONSILIUM_PREVIOUS_SITE_KEY had wrapped.

    All processes must have both by now. It may be stopped and repeated at any time; no text is touched.
    """
    if get_settings().previous_site_key is None:
        raise SettingsError(
            "CONSILIUM_PREVIOUS_SITE_KEY is not set: give every process the old key there and the new one as "
            "CONSILIUM_SITE_KEY, restart, then rotate (docs/security.md)"
        )
    site_key = vault().site_key
    with database() as session:
        rotating.keep_digest_key(session, site_key)
    total = 0
    while rewrapped := _pass(site_key):
        total += rewrapped
    with database() as session:
        left = rotating.left(session, site_key)
        audit(session, "sitekey.rotate", f"to {site_key.id}: {total} keys, {left} left")
    _tell(site_key, total, left, format_)


def _pass(site_key: SiteKey) -> int:
    """Every key once, batch by batch; how many were wrapped anew."""
    done, after = 0, rotating.FIRST
    while True:
        with database() as session:
            ids = rotating.rewrap(session, site_key, after=after)
        if not ids:
            return done
        done, after = done + len(ids), ids[-1]


def _tell(site_key: SiteKey, rewrapped: int | None, left: int, format_: Format) -> None:
    if format_ is not Format.table:
        emit([{"site_key": site_key.id, "rewrapped": rewrapped, "left": left}], format_)
    else:
        if rewrapped is not None:
            out.print(f"{rewrapped} keys are wrapped by site key {site_key.id} now")
        out.print(
            f"{left} keys are wrapped by another: repeat `consilium sitekey rotate`"
            if left
            else f"nothing is left under another key than {site_key.id}: CONSILIUM_PREVIOUS_SITE_KEY can go"
        )
