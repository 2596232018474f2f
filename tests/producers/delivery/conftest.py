"""A worker's context on a fresh database, consultations that end, and a receiver of their events."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import select

from db.engine import dispose, transaction
from db.queries import consultations, deliveries, events, webhooks
from db.queries.documents import Vault
from db.tables import Source
from embedded.services import Services
from producers.delivery.webhooks import Webhooks
from shared.sealing import new_site_key
from tests.accepted import ask, consultations_of, context, submit
from tests.producers.delivery.receiver import Receiver, receiving
from workers.context import Context


@pytest.fixture(scope="module")
def own_ctx(services: Services, template: str) -> Iterator[Context]:
    """A context on a database of the module's own: a copy for each test would take most of the time."""
    server, name = services.addresses.database_url, f"consilium_delivery_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        url = f"{server.rpartition('/')[0]}/{name}"
        made = context(url, site_key=new_site_key())
        made.vault = Vault.of(made.settings)
        yield made
        dispose(url)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def ctx(own_ctx: Context) -> Context:
    """Nobody works and nobody listens: what is accepted ends when a test says so. No destination yet."""
    for table in ("deliveries", "destinations"):
        ask(own_ctx, f"DELETE FROM {table}")
    ask(own_ctx, "UPDATE outbox_events SET delivered_at = now()")
    return own_ctx


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A hospital's receiver."""
    with receiving() as server:
        yield server


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is tried again at once."""
    monkeypatch.setattr(deliveries, "FIRST_S", 0.0)


@pytest.fixture
def sending(ctx: Context) -> Iterator[Webhooks]:
    """What sends to webhooks, driven by the test."""
    made = Webhooks(ctx.settings.require_database(), ctx.vault)
    yield made
    made.close()


def end(ctx: Context, count: int, *, deliver: bool = True) -> list[uuid.UUID]:
    """So many consultations of one submission end; they, in the order of their events."""
    submission = submit(ctx, count)
    ended = consultations_of(ctx, submission)
    with ctx.transaction() as session:
        for consultation in ended:
            consultations.end(session, consultation_id=consultation, state="completed")
    with ctx.transaction() as session:
        events.finish_submissions(session)
    if deliver:
        with ctx.transaction() as session:
            events.deliver(session)
    return ended


def add(
    ctx: Context, receiver: Receiver, *types: str, source: str = "local", private: bool = True
) -> uuid.UUID:
    """A webhook of a source; the receiver knows its secret."""
    with transaction(ctx.settings.require_database()) as session:
        found = session.execute(select(Source.id).where(Source.name == source)).scalar_one()
        webhook, receiver.secret = webhooks.add(
            session, ctx.vault, found, receiver.url, types=types, allow_private=private
        )
    return webhook


def state(ctx: Context, webhook: uuid.UUID) -> tuple[str, int, int]:
    """State, and what is pending and dead, as `consilium webhooks list` tells."""
    with ctx.transaction() as session:
        [row] = webhooks.listed(session, webhook)
    return row["state"], row["pending"], row["dead"]
