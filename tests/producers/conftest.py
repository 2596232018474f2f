"""A site to submit to: a fresh database, a site's key, settings and the simulated panel's models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy.orm import Session

from db.engine import transaction
from db.queries.documents import Vault
from producers.intake import Order, Receipt, accept, receive
from producers.readers.ndjson import Read, read_ndjson
from shared.registry import Registry
from shared.sealing import SiteKey, new_site_key
from shared.settings import Settings
from tests.accepted import registry as panel_registry
from tests.accepted import rows


def record(own_id: str, **changes: Any) -> bytes:
    """A good record."""
    return json.dumps(
        {"id": own_id, "vignette": f"A man of seventy has had chest pain: case {own_id}.", **changes}
    ).encode()


def _reads(lines: list[bytes] | Iterator[Read]) -> Iterator[Read]:
    return read_ndjson(lines) if isinstance(lines, list) else lines


class Site:
    """A database with a site's key, settings and models."""

    def __init__(self, url: str, registry: Registry) -> None:
        self.url = url
        self.registry = registry
        self.settings = Settings(_env_file=None)
        self.vault = Vault(SiteKey(new_site_key()), 30)

    def accept(
        self, lines: list[bytes] | Iterator[Read], session: Session | None = None, **order: Any
    ) -> Receipt:
        """One batch, in a transaction of its own unless one is given."""
        with transaction(self.url) if session is None else nullcontext(session) as within:
            return accept(within, _reads(lines), Order(**order), **self._with())

    def receive(
        self,
        lines: list[bytes] | Iterator[Read],
        told: list[tuple[str, int | None]] | None = None,
        **order: Any,
    ) -> Receipt:
        """One batch, chunk by chunk; (text, line) of what was set aside goes to `told`."""
        heard = [] if told is None else told
        return receive(
            lambda: transaction(self.url),
            _reads(lines),
            Order(**order),
            set_aside=lambda read, error: heard.append((read.sent(), error.line)),
            **self._with(),
        )

    def _with(self) -> dict[str, Any]:
        return {"settings": self.settings, "registry": self.registry, "vault": self.vault}

    def source(self, name: str, policy: dict[str, Any]) -> None:
        """Add a source."""
        self.ask(
            "INSERT INTO sources (id, name, policy) VALUES (gen_random_uuid(), %s, %s)",
            name,
            json.dumps(policy),
        )

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of one statement, if it has any."""
        return rows(self.url, statement, *values)

    def counts(self) -> dict[str, int]:
        """Rows of every table that a batch writes to."""
        tables = (
            "submissions records consultations seats owed_answers outcomes clinical_documents data_keys "
            "prompts model_versions outbox_events"
        )
        return {table: self.ask(f"SELECT count(*) FROM {table}")[0][0] for table in tables.split()}


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The simulated panel's models; nobody listens there."""
    return panel_registry()


@pytest.fixture
def site(database_url: str, registry: Registry) -> Site:
    """A fresh site."""
    return Site(database_url, registry)
