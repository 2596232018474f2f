"""The process that delivers: events to webhooks and exchanges, submissions from the sources' own queues."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
from sqlalchemy.exc import DBAPIError

from db.engine import transaction
from db.queries import events, webhooks
from db.queries.documents import Vault
from producers.delivery.doors import Door, load_doors
from producers.delivery.webhooks import Webhooks
from shared import startup
from shared.registry import load_registry
from shared.settings import Settings

POLL_S = 2.0
"""How often is looked where nobody says that there is something; retries begin so much later at most."""
BUSY_S = 0.2
"""The same while something is being sent."""
_AWAY_S = 5.0
_MOST = 500
log = logging.getLogger(__name__)


def serve(settings: Settings, stopping: threading.Event | None = None, *, alive: Path | None = None) -> None:
    """Deliver until SIGTERM or SIGINT (or `stopping`), also where PostgreSQL or a broker is away for a while.

    Raises `SettingsError`: no database, site key or models.toml, or a doors' file that is wrong.
    """
    url, vault = settings.require_database(), Vault.of(settings)
    doors = load_doors(settings)
    if stopping is None:
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # a webhook's address may hold a token; kombu quotes messages, which are clinical, that it cannot restore
    for name, level in (("httpx", "WARNING"), ("httpcore", "WARNING"), ("kombu", 60), ("amqp", 60)):
        logging.getLogger(name).setLevel(level)
    threads = [threading.Thread(target=run, args=(stopping,)) for run in _doors(settings, vault, doors)]
    for thread in threads:
        thread.start()
    sending = Webhooks(url, vault)
    startup.over()
    print("delivery ready", flush=True)
    try:
        while not stopping.is_set():
            try:
                _deliver(url, settings, doors, sending, stopping, alive)
            except (DBAPIError, psycopg.Error) as error:
                log.warning("PostgreSQL: %s; tried again in %g s", type(error).__name__, _AWAY_S)
                stopping.wait(_AWAY_S)
    finally:
        stopping.set()
        sending.close()
        for thread in threads:
            thread.join()


def _doors(settings: Settings, vault: Vault, doors: list[Door]) -> list[Callable[[threading.Event], object]]:
    if not doors:
        return []
    from producers.delivery.queue_door import QueueDoor  # kombu and the readers: not for webhooks alone

    registry = load_registry(settings.require_models_file())
    return [QueueDoor(door, settings, registry, vault).run for door in doors]


def _deliver(
    url: str,
    settings: Settings,
    doors: list[Door],
    sending: Webhooks,
    stopping: threading.Event,
    alive: Path | None,
) -> None:
    with psycopg.connect(url, autocommit=True) as listening:
        listening.execute(f"LISTEN {events.CHANNEL}")
        if settings.doors_file is not None:
            with transaction(url) as session:
                webhooks.open_doors(session, [(d.name, d.source) for d in doors if d.events_exchange])
        while not stopping.is_set():
            if alive is not None:
                alive.touch()
            more = True
            while more:  # workers do this too, as soon as something is true: here it does not need any
                with transaction(url) as session:
                    more = events.deliver(session, most=_MOST) == _MOST
            # what came for a webhook that is being sent to is looked for again when that may have ended
            wait_s = BUSY_S if sending.begin() else POLL_S
            for _ in listening.notifies(timeout=wait_s, stop_after=1):
                pass
