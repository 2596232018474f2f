"""The doors' file: from which queue of whose broker submissions come, and to which exchange events go.

[doors.st-mary]
source = "st-mary"
url_env = "ST_MARY_BROKER"       # or url_file: the broker's address is a secret
queue = "consilium.in"           # without it: events only
events_exchange = "consilium"    # without it: submissions only
"""

from __future__ import annotations

import os
import socket
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.addresses import Address, address
from shared.errors import SettingsError
from shared.settings import Settings

_PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}


class Door(BaseModel):
    """One source's queue and exchange on a broker of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(max_length=100)
    source: str
    url_env: str | None = None
    url_file: Path | None = None
    queue: str | None = Field(None, min_length=1)
    exchange: str | None = None  # that the queue is bound to, by `routing_key`; None: as it is
    routing_key: str = ""
    dead_letter_queue: str | None = None  # None: the queue's name with .dead
    events_exchange: str | None = Field(None, min_length=1)  # of type topic
    declare: bool = True  # queues and exchanges are made where they are missing; else they must be there
    redelivery_s: float = Field(900, gt=0)  # Redis: a message of who died with it comes again after this

    @model_validator(mode="after")
    def _whole(self) -> Door:
        if (self.url_env is None) == (self.url_file is None):
            raise ValueError("give the broker's address by one of url_env and url_file")
        if self.queue is None and self.events_exchange is None:
            raise ValueError("name a queue to read from, an events_exchange to write to, or both")
        return self

    @property
    def dead_letters(self) -> str:
        """The queue of what could not be read."""
        return self.dead_letter_queue or f"{self.queue}.dead"

    def address(self) -> Address:
        """The broker's, read anew. Raises `SettingsError`."""
        if self.url_env is not None:
            url = os.environ.get(self.url_env, "")
            where = f"the variable {self.url_env}"
        else:
            where = f"the file {self.url_file}"
            try:
                url = Path(str(self.url_file)).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                url = ""
        if not url:
            raise SettingsError(f"door {self.name}: {where} gives no address of a broker")
        try:
            return address(url)
        except ValueError as error:
            raise SettingsError(f"door {self.name}: {where}: {error}") from None


def load_doors(settings: Settings) -> list[Door]:
    """The doors of the file that the settings name; none without it.

    Raises `SettingsError`: the file is wrong, or a door's broker is the one that carries our own tasks.
    """
    if settings.doors_file is None:
        return []
    file = settings.doors_file
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"CONSILIUM_DOORS_FILE: cannot read {file}: {error.strerror}") from None
    except ValueError as error:  # bad TOML or bad UTF-8; the messages name the place
        raise SettingsError(f"CONSILIUM_DOORS_FILE: {file}: {error}") from None
    named = tables.pop("doors", {})
    if tables or not isinstance(named, dict):
        raise SettingsError(f"CONSILIUM_DOORS_FILE: {file}: nothing but tables [doors.NAME] is known there")
    doors = [_door(file, name, table) for name, table in named.items()]
    for door in doors:
        _refuse_ours(door, settings)
    return doors


def _door(file: Path, name: str, table: Any) -> Door:
    try:
        return Door.model_validate({**table, "name": name} if isinstance(table, dict) else table)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}".strip(": ") for e in error.errors())
        raise SettingsError(f"CONSILIUM_DOORS_FILE: {file}: [doors.{name}]: {wrong}") from None


def _refuse_ours(door: Door, settings: Settings) -> None:
    """What comes through a door is clinical, and nothing clinical is on the broker of our tasks."""
    theirs = _place(door.address().url)
    ours = [url.get_secret_value() for url in (settings.broker_url, settings.redis_url) if url is not None]
    if any(theirs == _place(url) for url in ours):
        raise SettingsError(
            f"door {door.name}: that is the broker of our own tasks, which may never hold clinical text: "
            "give the source one of its own (of Redis another database at least, of RabbitMQ another vhost)"
        )


def _place(url: str) -> tuple[Any, ...]:
    """What tells two brokers apart: host, port, and database or vhost."""
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        host = min(str(each[4][0]) for each in found)
    except OSError:  # no such name now: told apart by it
        pass
    host = "localhost" if host in ("::1", "127.0.0.1") else host
    redis = parts.scheme.startswith("redis")
    # RabbitMQ's usual vhost is called "/", and written //, /, /%2F or not at all
    inner = unquote(parts.path).strip("/") or ("0" if redis else "/")
    return redis, host, parts.port or _PORTS.get(parts.scheme), inner
