"""Events go to webhooks: each webhook's in their order over one connection, several webhooks at a time."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError

from db.engine import transaction
from db.queries import deliveries
from db.queries.deliveries import Event
from db.queries.documents import Vault
from producers.delivery.posting import NotDelivered, Poster
from producers.delivery.signing import headers
from shared.errors import SettingsError

MOST = 20
"""Events that are taken at once."""
TURN_S = 60.0
"""So long one webhook is sent to while others may wait."""
AT_ONCE = 16
"""Webhooks of one process that are sent to at the same time."""
_GONE = 410
log = logging.getLogger(__name__)


class Webhooks:
    """Sends what is due, in threads of its own."""

    def __init__(self, database_url: str, vault: Vault) -> None:
        self._url = database_url
        self._vault = vault
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook")
        self._busy: dict[uuid.UUID, Future[int]] = {}
        self._ended = False

    def begin(self) -> int:
        """Begin to send to each webhook that something is due for and nothing is being sent to; how many.

        A database that is away is raised here; what else a thread raised is told by its kind, and is no other
        webhook's: its events are sent again when their lease ends.
        """
        for ended in [id_ for id_, sending in self._busy.items() if sending.done()]:
            try:
                self._busy.pop(ended).result()
            except (DBAPIError, psycopg.Error):
                raise
            except Exception as error:  # noqa: BLE001 - a bug on one webhook must not keep the others
                log.error("webhook %s: a bug: %s", ended, type(error).__name__)
        with transaction(self._url) as session:
            found = deliveries.due(session, "webhook", busy=self._busy)
        for id_ in found[: AT_ONCE - len(self._busy)]:
            self._busy[id_] = self._pool.submit(self.send, id_)
        return len(self._busy)

    def close(self) -> None:
        """What is being sent is ended; what was taken with it is given back."""
        self._ended = True
        self._pool.shutdown(cancel_futures=True)

    def send(self, webhook_id: uuid.UUID) -> int:
        """Send one webhook's events, up to the first that does not arrive; how many have.

        After `TURN_S` it ends, so that others have their turn.
        """
        sent, turn = 0, time.monotonic() + TURN_S
        while time.monotonic() < turn and not self._ended:
            with transaction(self._url) as session:
                at = deliveries.webhook(session, webhook_id)
                events = deliveries.take(session, webhook_id, most=MOST) if at else []
            if not events:
                break
            with Poster(private=at.allow_private) as poster:
                arrived = self._send(webhook_id, events, poster)
            sent += arrived
            if arrived < len(events):
                break
        return sent

    def _send(self, webhook_id: uuid.UUID, events: Sequence[Event], poster: Poster) -> int:
        until = time.monotonic() + deliveries.LEASE_S / 2
        for number, event in enumerate(events):
            with transaction(self._url) as session:
                at = deliveries.webhook(session, webhook_id)  # anew: it may be disabled or removed meanwhile
                if at is None or self._ended or time.monotonic() > until:
                    deliveries.give_back(session, webhook_id, events[number:])
                    return number
            try:
                status = poster.post(at.url, self._headers(at, event), event.body())
            except NotDelivered as failure:
                self._failed(webhook_id, events[number:], failure)
                return number
            with transaction(self._url) as session:
                deliveries.delivered(session, webhook_id, [event], status)
        return len(events)

    def _headers(self, at: Any, event: Event) -> dict[str, str]:
        if at.key_id is None:
            raise NotDelivered("secret erased")
        try:
            secret = self._vault.site_key.unwrap(at.key_id, at.wrapped).secret
        except SettingsError:
            raise NotDelivered("another site key") from None
        return headers(secret, str(event.event_id), int(time.time()), event.body())

    def _failed(self, webhook_id: uuid.UUID, events: Sequence[Event], failure: NotDelivered) -> None:
        with transaction(self._url) as session:
            deliveries.give_back(session, webhook_id, events[1:])
            disabled = deliveries.failed(
                session,
                webhook_id,
                events[0],
                failure.error,
                status=failure.status,
                gone=failure.status == _GONE,
                wait_s=failure.retry_after_s,
            )
        if disabled:
            log.warning("webhook %s is disabled: %s", webhook_id, disabled)
