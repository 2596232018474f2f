"""The doctor: everything that can be checked from outside the workers, and what to do about it.

A module for each group of checks; `examine` puts them together. Nothing here changes anything, and nothing
tells clinical text, a source's name or a key.
"""

from __future__ import annotations

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from db.engine import transaction
from db.queries import invariants
from producers.doctor.configuration import models_of, relations
from producers.doctor.data import data
from producers.doctor.models import models
from producers.doctor.services import broker, clocks, database
from producers.doctor.work import leases, letters, queues, stuck, undelivered
from producers.health import Check, database_away, migrated
from shared.settings import Settings

STATEMENT_S = 60
"""Longest that one of the doctor's own statements may take."""

Groups = dict[str, list[Check]]


def examine(settings: Settings, *, days: float | None = 7) -> Groups:
    """All checks by group. The invariants look at what came within `days` (None: ever) and what is open.

    What needs a server that is away, or the models' file where it cannot be read, is left out; that itself is
    told as a problem. Raises `SettingsError` where no address of the database or the broker is set.
    """
    url = settings.require_database()
    registry, readable = models_of(settings)
    groups: Groups = {"services": broker(settings)}
    if registry is not None:
        groups["settings"] = relations(registry, settings)
    groups["models"] = readable
    try:
        with transaction(url) as session:
            session.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_S}s'"))
            groups["services"] = [*database(session), *groups["services"], *clocks(session, settings)]
            migrations = migrated(session, url)
            groups["services"].append(migrations)
            if migrations.level != "ok":
                return groups
            groups["work"] = [
                *queues(session, settings),
                *stuck(session),
                *leases(session, settings, registry),
                *letters(session),
                *undelivered(session),
            ]
            if registry is not None:
                groups["models"] += models(session, registry)
        with transaction(url) as session:
            invariants.snapshot(session)
            session.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_S}s'"))
            groups["data"] = data(session, settings, registry, days)
    except OperationalError as error:
        if isinstance(error.orig, psycopg.errors.QueryCanceled):
            told = f"a question took longer than {STATEMENT_S} s: ask about less with --days"
            groups["data"] = [Check("looked at", "warning", told)]
        else:
            groups["services"].append(database_away(error))
    return groups
