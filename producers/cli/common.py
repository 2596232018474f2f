"""What all commands share: the database, output for people and for programs, errors with exit codes."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db.engine import transaction
from db.queries.documents import Vault
from shared.errors import ConsiliumError, SettingsError
from shared.registry import Registry, load_registry
from shared.sealing import SiteKey
from shared.settings import get_settings

EXIT_USAGE = 2
EXIT_SET_ASIDE = 6
EXIT_AWAY = 7
EXIT_NOT_FOUND = 8

out = Console(soft_wrap=not sys.stdout.isatty())
err = Console(stderr=True)


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
    """PostgreSQL cannot be reached."""

    exit_code = EXIT_AWAY


@contextmanager
def database() -> Iterator[Session]:
    """One transaction. Raises `Away` with a sentence instead of a driver's error."""
    try:
        with transaction(get_settings().require_database()) as session:
            yield session
    except OperationalError:
        raise Away(
            "PostgreSQL cannot be reached, nothing was stored or changed: is `consilium up` running?"
        ) from None


def vault() -> Vault:
    """The site's vault, for reading and writing sealed text."""
    settings = get_settings()
    if settings.site_key is None:
        raise SettingsError("CONSILIUM_SITE_KEY is not set: without it no text can be sealed or read")
    return Vault(SiteKey(settings.site_key.get_secret_value()), settings.retention_days)


def registry() -> Registry:
    """The models in force."""
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
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    if value is None:
        return "·"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "–"
    return str(value)
