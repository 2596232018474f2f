"""A site to submit to: a fresh database, a site's key, settings and the simulated panel's models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from db.engine import transaction
from db.queries.documents import Vault
from producers.intake import Order, Receipt, accept
from producers.readers.ndjson import Read, read_ndjson
from shared.registry import Registry
from shared.sealing import SiteKey, new_site_key
from shared.settings import Settings
from tests.accepted import registry as panel_registry


def record(own_id: str, **changes: Any) -> bytes:
    """A good record."""
    return json.dumps(
        {"id": own_id, "vignette": f"A man of seventy has had chest pain: case {own_id}.", **changes}
    ).encode()


class Site:
    """A database with a site's key, settings and models."""

    def __init__(self, url: str, registry: Registry) -> None:
        self.url = url
        self.registry = registry
        self.settings = Settings(_env_file=None)
        self.vault = Vault(SiteKey(new_site_key()), 30)

    def accept(self, lines: list[bytes] | Iterator[Read], body: str = "body", **order: Any) -> Receipt:
        """One batch in a transaction of its own."""
        with transaction(self.url) as session:
            return accept(
                session,
                read_ndjson(lines) if isinstance(lines, list) else lines,
                Order(**order),
                body_digest=body,
                settings=self.settings,
                registry=self.registry,
                vault=self.vault,
            )

    def source(self, name: str, policy: dict[str, Any]) -> None:
        """Add a source."""
        self.ask(
            "INSERT INTO sources (id, name, policy) VALUES (gen_random_uuid(), %s, %s)",
            name,
            json.dumps(policy),
        )

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of one statement, if it has any."""
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

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
