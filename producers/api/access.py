"""Who asks, what he may, and the one place where every query is limited to his source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.orm import Session

from db.engine import source_transaction
from db.queries import api_keys, audit
from db.queries.api_keys import Caller
from db.queries.documents import Vault
from producers.api.limits import Limits
from producers.api.problems import Problem
from shared.registry import Registry, load_registry
from shared.settings import Settings

_bearer = HTTPBearer(
    auto_error=False,
    description="A key of your source (`consilium sources keys add` shows it once), or a token of /v1/token.",
)


@dataclass(frozen=True)
class Site:
    """What the application holds for all its requests."""

    settings: Settings
    registry: Registry
    vault: Vault
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", Limits(self.settings))

    @classmethod
    def of(cls, settings: Settings) -> Site:
        """By the settings. Raises `SettingsError`: no database, site key or models.toml."""
        settings.require_database()
        return cls(settings, load_registry(settings.require_models_file()), Vault.of(settings))


@dataclass(frozen=True)
class Desk:
    """One request's access to what is its source's."""

    caller: Caller
    site: Site

    def read(self) -> AbstractContextManager[Session]:
        """A transaction that sees the rows of this source alone and changes none."""
        return source_transaction(self._url, self.caller.source_id, "read")

    def write(self) -> AbstractContextManager[Session]:
        """A transaction that sees and changes the rows of this source alone."""
        return source_transaction(self._url, self.caller.source_id, "accept")

    def audit(self, what: str, which: str) -> None:
        """Note that he does this, in a transaction of its own: for what only reads."""
        with self.write() as session:
            audit.record(session, self.who, what, which, self.caller.source_id)

    @property
    def who(self) -> str:
        """The caller's name in the audit."""
        return f"key {self.caller.key_id}"

    @property
    def _url(self) -> str:
        return self.site.settings.require_database()


def site(request: Request) -> Site:
    """What the application holds."""
    found: Site = request.app.state.site
    return found


class _Allowed:
    """A dependency: the caller has a good key with this scope, and has not asked too often.

    401 without a key, 403 without the scope, 429 where it is too much.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope

    def __call__(self, site: Annotated[Site, Depends(site)], given: Annotated[Any, Depends(_bearer)]) -> Desk:
        caller = None
        if given is not None:
            with source_transaction(site.settings.require_database(), None, "enter") as session:
                caller = api_keys.caller(session, given.credentials)
        if caller is None:
            raise Problem(
                401,
                "a good key is needed: Authorization: Bearer cons_…",
                type_="unauthorized",
                headers={"WWW-Authenticate": "Bearer"},
            )
        site.limits.request(caller.source_id, caller.requests_per_minute)
        if self.scope not in caller.scopes:
            raise Problem(403, f"this key lacks the scope {self.scope}", type_="forbidden")
        return Desk(caller, site)


Submitting = Annotated[Desk, Depends(_Allowed("submit"))]
Reading = Annotated[Desk, Depends(_Allowed("read"))]
Operating = Annotated[Desk, Depends(_Allowed("operate"))]


def _uploading(desk: Submitting) -> Iterator[Desk]:
    with desk.site.limits.upload(desk.caller.source_id):
        yield desk


Uploading = Annotated[Desk, Depends(_uploading)]
"""As `Submitting`, with a place for bodies held until the answer is sent."""
