"""A real HTTP server of the API on a fresh database, and keys to come in with."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import insert, select

from db.engine import transaction
from db.ids import new_id
from db.queries import api_keys
from db.queries.api_keys import SCOPES
from db.tables import Source
from producers.api.access import Site
from producers.api.app import create_app
from producers.api.server import listen
from shared.policy import Policy
from tests import accepted
from workers.context import Context


@dataclass(frozen=True)
class Door:
    """A running API."""

    url: str
    ctx: Context  # of a worker on the same database, with the same keys
    site: Site

    def client(self, source: str = "local", scopes: tuple[str, ...] = SCOPES, **options: Any) -> httpx.Client:
        """A client with a new key of this source, which is made if there is none."""
        return httpx.Client(
            base_url=f"{self.url}/v1",
            headers={"Authorization": f"Bearer {self.key(source, scopes)}"},
            timeout=60,
            **options,
        )

    def key(self, source: str = "local", scopes: tuple[str, ...] = SCOPES) -> str:
        """A new key of this source, which is made if there is none."""
        with transaction(self.ctx.settings.require_database()) as session:
            found = session.execute(select(Source.id).where(Source.name == source)).scalar_one_or_none()
            if found is None:
                found = new_id()
                policy = Policy().model_dump(mode="json")
                session.execute(insert(Source).values(id=found, name=source, policy=policy))
            return api_keys.add(session, found, "test", scopes)[1]


@pytest.fixture
def door(database_url: str) -> Iterator[Door]:
    """The API on a fresh database; nobody works, so what is accepted stays open."""
    with opened(accepted.context(database_url)) as made:
        yield made


@contextmanager
def opened(ctx: Context) -> Iterator[Door]:
    """The API with the settings of this context."""
    site = Site(ctx.settings, ctx.registry, ctx.vault)
    app = create_app(site)
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield Door(f"http://127.0.0.1:{listening.getsockname()[1]}", ctx, site)
        finally:
            server.should_exit = True
            thread.join()
