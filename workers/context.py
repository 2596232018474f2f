"""What a worker process holds all its life: settings, registry, vault, its name, and whether it stops."""

from __future__ import annotations

import threading
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import redis
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from db.engine import statements, transaction
from db.queries.documents import Vault
from shared.registry import Registry, load_registry
from shared.safety.rules import Knowledge, load
from shared.settings import Settings, get_settings
from workers.controls import Cached
from workers.limits import Limiter, connect


@dataclass
class Context:
    """One process's context. `name` is Celery's node name; `boot_id` tells it from its former self."""

    settings: Settings
    registry: Registry
    vault: Vault
    name: str = "unnamed"
    boot_id: uuid.UUID = field(default_factory=uuid.uuid4)
    stopping: threading.Event = field(default_factory=threading.Event)
    registered: bool = False

    @cached_property
    def controls(self) -> Cached:
        """What is paused, limited, or away."""
        return Cached(self.transaction)

    @cached_property
    def redis_client(self) -> redis.Redis:
        """A client of Redis for what is no message; it never waits long."""
        return connect(self.settings.require_redis())

    @cached_property
    def limiter(self) -> Limiter:
        """The limits shared by all workers."""
        return Limiter(self.redis_client, self.settings)

    @cached_property
    def knowledge(self) -> Knowledge:
        """The safety rules: the built-in tables and the site's own."""
        return load(self.settings.safety_rules)

    @property
    def holder(self) -> str:
        """How a claim names this process."""
        return f"{self.name} {self.boot_id}"

    def transaction(self) -> AbstractContextManager[Session]:
        """A short transaction on the pool of this process."""
        return transaction(self.settings.require_database())

    def statements(self) -> AbstractContextManager[Connection]:
        """A connection of that pool where each statement is a transaction of its own."""
        return statements(self.settings.require_database())


@lru_cache(maxsize=1)
def get_context() -> Context:
    """The context of this process. Raises `SettingsError` (something needed is not set), `KnowledgeError`."""
    settings = get_settings()
    if settings.safety_rules is not None:
        load(settings.safety_rules)  # a bad file is told at the start, not at a patient's
    vault = Vault.of(settings)
    return Context(settings=settings, registry=load_registry(settings.require_models_file()), vault=vault)
