"""What all commands share: the database, output for people and for programs, errors with exit codes."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from db.engine import transaction, why_away
from shared.errors import ConsiliumError, SettingsError
from shared.settings import get_settings

if TYPE_CHECKING:
    from db.queries.documents import Vault
    from shared.registry import Registry

EXIT_USAGE = 2
EXIT_SET_ASIDE = 6
EXIT_AWAY = 7
EXIT_NOT_FOUND = 8

PIPED_WIDTH = 10_000
"""Columns where nobody's terminal says how many: a line stays a line, and an id stays whole."""

out = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Console(stderr=True, width=None if sys.stderr.isatty() else PIPED_WIDTH)


class Format(StrEnum):
    """How a command prints."""

    table = "table"
    json = "json"
    ndjson = "ndjson"
    csv = "csv"


class NotFound(ConsiliumError):
    """There is no such thing."""

    exit_code = EXIT_NOT_FOUND


class Away(ConsiliumError):
    """A server cannot be reached."""

    exit_code = EXIT_AWAY


class Busy(ConsiliumError):
    """Somebody else does the same at this moment."""


AWAY = "PostgreSQL cannot be reached, and nothing was acknowledged: is `consilium up` running?"


@contextmanager
def database() -> Iterator[Session]:
    """One transaction. Raises `Away` with a sentence instead of a driver's error."""
    try:
        with transaction(get_settings().require_database()) as session:
            yield session
    except OperationalError as error:
        if isinstance(error.orig, psycopg.errors.DeadlockDetected):
            raise Busy("another command changes the same rows: nothing was stored; try again") from None
        raise away(error) from None
    except ProgrammingError as error:
        if isinstance(error.orig, psycopg.errors.UndefinedTable):
            raise SettingsError(
                "CONSILIUM_DATABASE_URL names a database without our tables: `consilium up` makes them"
            ) from None
        raise


@contextmanager
def listening(channel: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that hears a channel of PostgreSQL. Raises `Away`."""
    try:
        with psycopg.connect(get_settings().require_database(), autocommit=True) as connection:
            connection.execute(f"LISTEN {channel}")
            yield connection
    except psycopg.OperationalError as error:
        raise away(error) from None


def away(error: OperationalError | psycopg.OperationalError) -> Away:
    """PostgreSQL cannot be reached: that, and why, where that is known."""
    why = why_away(error)
    return Away(f"PostgreSQL cannot be reached, and nothing was acknowledged: {why}" if why else AWAY)


def vault() -> Vault:
    """The site's vault, for reading and writing sealed text."""
    from db.queries.documents import Vault  # all tables, which a command without text does not need

    return Vault.of(get_settings())


def registry() -> Registry:
    """The models in force."""
    from shared.registry import load_registry

    return load_registry(get_settings().require_models_file())


def emit(rows: Sequence[Mapping[str, Any]], format_: Format, *, title: str = "") -> None:
    """Print rows of one shape: a table for people, or JSON, NDJSON, CSV for programs."""
    if format_ is Format.json:
        print(json.dumps(list(rows), default=str, indent=2))
    elif format_ is Format.ndjson:
        for row in rows:
            print(json.dumps(row, default=str))
    elif format_ is Format.csv:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows({k: _flat(v) for k, v in row.items()} for row in rows)
    else:
        out.print(table(rows, title=title))


def table(rows: Sequence[Mapping[str, Any]], *, title: str = "") -> Table:
    """A table whose columns are the keys of the first row."""
    made = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        made.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        made.add_row(*(_shown(v) for v in row.values()))
    return made


def _flat(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return "; ".join(v if isinstance(v, str) else json.dumps(v, default=str) for v in value)
    return value


def _shown(value: Any) -> str:
    if value is None:
        return "·"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, Decimal):  # USD
        return f"{value:.4f}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "–"
    return str(value)
