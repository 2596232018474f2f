"""`consilium webhooks`: where a source's events are sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.queries import webhooks
from db.tables import Destination
from producers.cli.acts import age, audit, source_named
from producers.cli.common import Format, NotFound, database, emit, out, vault
from producers.delivery.addresses import check
from shared.errors import SettingsError

app = typer.Typer(help="Webhooks: where a source's events are sent, signed.", no_args_is_help=True)

Webhook = Annotated[uuid.UUID, typer.Argument(help="The webhook's id.")]


@app.command("add")
def add(
    source: Annotated[str, typer.Argument(help="Whose events.")],
    url: Annotated[str, typer.Argument(help="https://host/path.")],
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="Such as consultation.failed; repeat for several. Default: all."),
    ] = None,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="The host may have a private or loopback address.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Send a source's events there from now on. The secret that they are signed with is shown once."""
    if unknown := set(type_ or ()) - set(webhooks.TYPES):
        raise SettingsError(
            f"there is no event {', '.join(sorted(unknown))}; there are {', '.join(webhooks.TYPES)}"
        )
    check(url, private=allow_private)
    with database() as session:
        found = source_named(session, source)
        webhook_id, secret = webhooks.add(
            session, vault(), found.id, url, types=type_ or (), allow_private=allow_private
        )
        audit(session, "webhook.add", str(webhook_id), found.id)
    if format_ is not Format.table:
        emit([{"webhook": str(webhook_id), "secret": secret}], format_)
        return
    out.print(f"webhook {webhook_id}", highlight=False)
    out.print(f"secret  {secret}", highlight=False, soft_wrap=True)
    out.print("the secret is shown this once: the receiver checks signatures with it", style="dim")


@app.command("list")
def list_(format_: Annotated[Format, typer.Option("--format")] = Format.table) -> None:
    """All webhooks: what is on its way to each, what has never arrived, and how the last attempt ended."""
    with database() as session:
        emit(webhooks.listed(session), format_)


@app.command("disable")
def disable(webhook: Webhook) -> None:
    """Send nothing there; events of that time are not kept for it (`redeliver --since` brings them)."""
    with _acting(webhook, "disable") as (session, _):
        webhooks.disable(session, webhook)
    out.print(f"webhook {webhook} is disabled", highlight=False)


@app.command("enable")
def enable(webhook: Webhook) -> None:
    """Send events there again, first those that waited when it was disabled."""
    with _acting(webhook, "enable") as (session, _):
        webhooks.enable(session, webhook)
    out.print(f"webhook {webhook} is enabled", highlight=False)


@app.command("redeliver")
def redeliver(
    webhook: Webhook,
    event: Annotated[
        uuid.UUID | None, typer.Argument(help="The event's id: sent again, arrived or not.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="An age such as 2h or 3d: all since that never arrived.")
    ] = None,
) -> None:
    """Send one event again, or all that never arrived."""
    if (event is None) == (since is None):
        raise SettingsError("give the id of one event, or --since AGE")
    with _acting(webhook, "redeliver") as (session, _):
        count = webhooks.redeliver(session, webhook, event_id=event, since=age(since, "--since"))
        if event is not None and not count:
            raise NotFound(f"no event {event} of this webhook's source")
    out.print(f"{count} events are sent again", highlight=False)


@app.command("remove")
def remove(webhook: Webhook) -> None:
    """Forget it, its secret and what is on its way to it."""
    with _acting(webhook, "remove") as (session, found):
        webhooks.remove(session, found)
    out.print(f"webhook {webhook} is removed", highlight=False)


@contextmanager
def _acting(webhook: uuid.UUID, what: str) -> Iterator[tuple[Session, Destination]]:
    """A transaction on one webhook, with its audit line. Raises `NotFound`."""
    with database() as session:
        found = session.execute(
            select(Destination).where(Destination.id == webhook, Destination.kind == "webhook")
        ).scalar_one_or_none()
        if found is None:
            raise NotFound(f"no webhook {webhook}: see `consilium webhooks list`")
        source_id = found.source_id
        yield session, found
        audit(session, f"webhook.{what}", str(webhook), source_id)
