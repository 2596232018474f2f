"""The queue's door: submissions come from a queue on the source's own broker, events leave to an exchange.

A message is acknowledged after its submission is committed, under an idempotency key that its redelivery has
too: whoever dies in between has it delivered again, and nothing is stored twice. What cannot be read goes to
the dead-letter queue with the reason, on the same broker; nothing of it is logged. Each door has a thread and
a connection of its own, so that one source's broken broker is no other's.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.exceptions import KombuError, OperationalError
from kombu.message import Message as Received
from sqlalchemy import exc, select
from sqlalchemy.orm import Session

from db.engine import source_transaction, transaction
from db.queries import deliveries
from db.queries.documents import Vault
from db.tables import Source
from producers.batch import Receipt
from producers.cancelling import give_up
from producers.delivery.doors import Door
from producers.delivery.messages import Message, enveloped
from producers.intake import NothingAccepted, receive
from producers.nudge import nudge
from producers.readers.record import InputError
from shared.addresses import Address, tls_fault
from shared.errors import ConsiliumError, SealedElsewhere, SettingsError
from shared.registry import Registry
from shared.settings import Settings

POLL_S = 1.0
"""How often is looked for events to send."""
MOST = 100
"""Events that are taken at once."""
LONGEST_S = 60.0
"""Longest wait before a broken connection is tried again."""
CONFIRM_S = 5.0
HEARTBEAT_S = 10
"""RabbitMQ hangs up on who is silent for twice this."""
REASON, KIND = "x-consilium-reason", "x-consilium-error"
"""Headers of a message on the dead-letter queue: what is wrong, for people and for programs."""
_PERSISTENT = 2
log = logging.getLogger(__name__)


class QueueDoor:
    """One door, served over one connection."""

    def __init__(self, door: Door, settings: Settings, registry: Registry, vault: Vault) -> None:
        self._door, self._settings, self._registry, self._vault = door, settings, registry, vault
        self._url = settings.require_database()
        self._connection: Any = None
        self._producer: Any = None
        self._source_id: uuid.UUID
        self._most_records, self._most_bytes = settings.api_max_records, settings.api_max_bytes

    def run(self, stopping: threading.Event) -> None:
        """Serve until `stopping`, through all that breaks meanwhile, which is logged by its kind."""
        failures = 0
        while not stopping.is_set():
            try:
                for _ in self._connected(stopping):
                    failures = 0
            except Exception as error:  # noqa: BLE001 - told by its kind, and tried again: also after a bug
                wait_s = min(LONGEST_S, 2**failures) * random.uniform(0.5, 1)
                failures = min(failures + 1, 10)
                # a driver's words may quote a row, a reader's a message: only ours are told
                told = isinstance(error, _Broken | SettingsError)
                why = str(error) if told else type(error).__name__
                log.warning("door %s: %s; tried again in %.0f s", self._door.name, why, wait_s)
                stopping.wait(wait_s)

    def _connected(self, stopping: threading.Event) -> Iterator[None]:
        connection = Connection(**_options(self._door.address(), self._door.redelivery_s))
        broken: tuple[type[BaseException], ...] = (OperationalError, KombuError)
        broken += (*connection.connection_errors, *connection.channel_errors)
        try:
            with connection:
                yield from self._served(connection, stopping)
        except broken as error:
            raise _Broken(f"the broker: {tls_fault(error) or type(error).__name__}") from None

    def _served(self, connection: Any, stopping: threading.Event) -> Iterator[None]:
        """Take what comes and send what is due; each turn is yielded."""
        door = self._door
        self._know_source()
        channel = connection.channel()
        # what was in hand is put back by its redelivery time: kombu's own way may dump it into a file
        channel.do_restore = False
        if not door.address().rabbitmq:
            channel.client.set_response_callback("BRPOP", self._popped)
        queue = self._declared(channel)
        self._connection, self._producer = connection, Producer(channel)
        with ExitStack() as stack:
            if queue is not None:
                consumer = Consumer(
                    channel,
                    [queue],
                    on_message=self._received,
                    on_decode_error=self._not_unpacked,
                    prefetch_count=1,
                    auto_declare=False,
                )
                stack.enter_context(consumer)
            while not stopping.is_set():
                if door.events_exchange:
                    self._send_events()
                if queue is None:
                    stopping.wait(POLL_S)
                    connection.heartbeat_check()
                else:
                    _drain(connection)
                yield

    def _know_source(self) -> None:
        """Its id and limits, as they are now. Raises `SettingsError`: there is none of that name."""
        with transaction(self._url) as session:
            asked = select(Source.id, Source.max_records, Source.max_bytes)
            found = session.execute(asked.where(Source.name == self._door.source)).one_or_none()
        if found is None:
            raise SettingsError(f"no source named {self._door.source!r}: `consilium sources add`")
        self._source_id = found.id
        self._most_records = found.max_records or self._settings.api_max_records
        self._most_bytes = found.max_bytes or self._settings.api_max_bytes

    def _declared(self, channel: Any) -> Any:
        """The queue that is read; it, the dead letters' and the exchange are made, or must be there."""
        door = self._door
        passive = not door.declare
        if door.events_exchange:
            Exchange(door.events_exchange, "topic", durable=True, passive=passive)(channel).declare()
        if door.queue is None:
            return None
        Queue(door.dead_letters, durable=True)(channel).queue_declare(passive=passive)
        bound = Exchange(door.exchange, "topic", durable=True, passive=passive) if door.exchange else None
        queue = Queue(door.queue, bound, door.routing_key, durable=True)(channel)
        if passive:
            queue.queue_declare(passive=True)
        else:
            queue.declare()
        return queue

    def _popped(self, reply: Any, **_options: Any) -> Any:
        """What Redis gave. kombu fails on what is not in its format, and then it is gone: a dead letter."""
        if not reply or enveloped(reply[1]):
            return reply
        reason = "it is not in kombu's format: send it with kombu or Celery, or over the API"
        headers = {REASON: reason, KIND: "InputError"}
        content_type = "application/octet-stream"
        self._publish(reply[1], self._door.dead_letters, content_type=content_type, headers=headers)
        return None

    def _received(self, message: Received) -> None:
        try:
            with _heartbeats(self._connection):
                receipt = self._take(message)
        except SealedElsewhere:  # the site's key is rotated: nothing is wrong with the message
            message.requeue()
            raise
        except ConsiliumError as refused:
            self._dead_letter(message, type(refused).__name__, str(refused))
            return
        except (exc.OperationalError, exc.InterfaceError, exc.IntegrityError):
            # PostgreSQL is away, or the same ids come in elsewhere at this moment: again, after a while
            message.requeue()
            raise
        except Exception as error:  # noqa: BLE001 - a bug on one message must not keep the others
            kind = type(error).__name__
            log.error("door %s: a bug: %s; the message is a dead letter", self._door.name, kind)
            self._dead_letter(message, "Bug", f"a bug of ours: {kind}")
            return
        self._reply(message, receipt)
        message.ack()
        if self._settings.broker_url is not None:  # else, or where it is away, the sweep finds what is stored
            nudge(self._settings)

    def _take(self, message: Received) -> Receipt:
        """Its submission, committed; or what it was when it came the first time.

        Raises what `receive` does; of what cannot be read to its end nothing is kept.
        """
        body = message.body or b""
        told = Message(
            body.encode() if isinstance(body, str) else bytes(body),
            str(message.content_type or ""),
            str(message.properties.get("message_id") or ""),
            message.headers or {},
        )
        self._know_source()
        begun: set[uuid.UUID] = set()
        try:
            with ExitStack() as stack:
                return receive(
                    self._accepting,
                    told.records(stack, most=self._most_records, most_bytes=self._most_bytes),
                    told.order(self._door.source, f"door {self._door.name}"[:100]),
                    settings=self._settings,
                    registry=self._registry,
                    vault=self._vault,
                    stored=lambda receipt: begun.add(receipt.submission_id),
                )
        except (InputError, NothingAccepted):
            for submission_id in begun:
                give_up(self._accepting, submission_id)
            raise

    def _accepting(self) -> AbstractContextManager[Session]:
        return source_transaction(self._url, self._source_id, "accept")

    def _reply(self, message: Received, receipt: Receipt) -> None:
        """Ids and numbers, to whoever asked for an answer (AMQP's `reply_to`), where one can be sent."""
        asked = ("reply_to", "correlation_id", "message_id")  # a sender to Redis may write anything there
        to, *about = (at if isinstance(at := message.properties.get(name), str) else "" for name in asked)
        if not to:
            return
        told = {
            "submission": str(receipt.submission_id),
            "accepted": receipt.accepted,
            "set_aside": receipt.set_aside,
            "repeated": receipt.repeated,
        }
        try:
            self._publish(json.dumps(told).encode(), to, correlation_id=about[0] or about[1] or None)
        except Exception as error:  # noqa: BLE001 - all is stored: the message is not to come again for it
            log.warning("door %s: an answer cannot be sent: %s", self._door.name, type(error).__name__)

    def _not_unpacked(self, message: Received, _error: Exception) -> None:
        self._dead_letter(message, "InputError", "the body cannot be unpacked: send it again")

    def _dead_letter(self, message: Received, kind: str, reason: str) -> None:
        headers = {**(message.headers or {}), REASON: reason, KIND: kind}
        headers.pop("compression", None)  # it is unpacked
        body = message.body or b""
        self._publish(
            body.encode() if isinstance(body, str) else body,
            self._door.dead_letters,
            content_type=message.content_type or "application/octet-stream",
            message_id=message.properties.get("message_id"),
            headers=headers,
        )
        message.ack()

    def _send_events(self) -> None:
        with transaction(self._url) as session:
            due = deliveries.due(session, "exchange", door=self._door.name)
        for destination in due:
            with transaction(self._url) as session:
                events = deliveries.take(session, destination, most=MOST)
            sent = 0
            try:
                for event in events:
                    self._publish(
                        event.body(),
                        event.type,
                        self._door.events_exchange or "",
                        message_id=str(event.event_id),
                    )
                    sent += 1
            finally:
                with transaction(self._url) as session:
                    deliveries.delivered(session, destination, events[:sent])
                    deliveries.give_back(session, destination, events[sent:])

    def _publish(self, body: bytes, key: str, exchange: str = "", **properties: Any) -> None:
        """Stored by the broker when this returns: RabbitMQ confirms, Redis answers."""
        properties.setdefault("content_type", "application/json")
        given = {name: value for name, value in properties.items() if value is not None}
        try:
            self._producer.publish(
                body,
                exchange=exchange,
                routing_key=key,
                content_encoding="binary",
                delivery_mode=_PERSISTENT,
                confirm_timeout=CONFIRM_S,
                **given,
            )
        except TimeoutError:  # not to be taken for a queue that is empty
            raise _Broken("the broker does not confirm what is sent") from None


class _Broken(Exception):
    """The connection to the broker."""


@contextmanager
def _heartbeats(connection: Any) -> Iterator[None]:
    """They are sent meanwhile: whoever is silent for long loses the connection, and gets the message again.

    From a thread, for parsing a large body takes long too; nobody else uses the connection until it ends, and
    what goes wrong shows then. Not by `heartbeat_check`: it misses the server's, which nobody reads now.
    """
    if not connection.supports_heartbeats:
        yield
        return
    send, ended = connection.connection.send_heartbeat, threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_S / 4):
            send()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(beat)
        try:
            yield
        finally:
            ended.set()


def _drain(connection: Any) -> None:
    try:
        connection.drain_events(timeout=POLL_S)
    except TimeoutError:
        connection.heartbeat_check()


def _options(at: Address, redelivery_s: float) -> dict[str, Any]:
    """kombu's `Connection(**…)`; see `shared.broker` for the reasons of each."""
    redis = {
        "visibility_timeout": redelivery_s,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }
    return {
        "hostname": at.url,
        "ssl": at.tls or False,
        "connect_timeout": 5,
        "heartbeat": HEARTBEAT_S if at.rabbitmq else 0,
        "transport_options": {"confirm_publish": True} if at.rabbitmq else redis,
    }
