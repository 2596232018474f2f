"""What producers and workers agree on about the broker: queues, message version, connection options.

Plain data: neither side imports the other, a producer sends by task name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from typing import Any, Literal

from shared.addresses import Address, address

MESSAGE_VERSION = 1
"""First argument of every task. A worker parks a message of a version it does not know."""

NUDGE = "consilium.dispatch"
"""What producers send, without arguments: look whether something waits."""
SWEEP = "consilium.resume_stalled"
"""The sweep, which beat sends; an operator's act that lets work go on sends one at once."""
NUDGE_QUEUE = "conclude"
HEARTBEAT = "consilium.heartbeat"
"""Goes through a queue to prove that its workers take from it: (version, moment of sending in ms)."""
CHECK_MODEL = "consilium.check_model"
"""Ask one model one short question and tell the answer's shape on `CHECK_CHANNEL` of PostgreSQL."""
CHECK_CHANNEL = "consilium_checks"
WIPE_MARKER = "consilium:wipe-marker"
"""A key of ours in Redis: gone means that Redis has forgotten everything."""

MODEL_QUEUES = ("remote", "remote.urgent", "local", "local.urgent")
URGENT_QUEUES = ("remote.urgent", "local.urgent")
QUEUES = (*MODEL_QUEUES, "conclude", "periodic", "quarantine")
_DELAY = re.compile(r"^(?:[01]\.)+")
_NOT_FOUND = 404

Location = Literal["remote", "local"]


def model_queue(location: Location, *, urgent: bool) -> str:
    """The queue of a call to a model."""
    return f"{location}.urgent" if urgent else location


def queues_with_work(locations: Collection[Location]) -> tuple[str, ...]:
    """The queues that may carry something where all models are in these locations."""
    return tuple(q for q in QUEUES if q not in MODEL_QUEUES or q.partition(".")[0] in locations)


def queue_of(routing_key: object) -> str | None:
    """The queue that a message was taken from; None if it is none of ours.

    On RabbitMQ a message that was delayed still carries its delay, in bits, before the queue's name.
    """
    name = _DELAY.sub("", str(routing_key))
    return name if name in QUEUES else None


def countdown_s(broker_url: str, wait_s: float) -> float:
    """How a wait is asked for, in seconds: RabbitMQ knows whole ones only, and not zero of them."""
    return math.ceil(wait_s) if address(broker_url).rabbitmq else wait_s


def queues(broker_url: str) -> dict[str, dict[str, Any]]:
    """kombu's options of each queue.

    On RabbitMQ they are quorum queues, kept by a majority of its nodes, and each exchange is a topic, for
    Celery's delayed delivery passes those only (a countdown would otherwise hold up a worker's prefetch).
    """
    rabbitmq = address(broker_url).rabbitmq
    kind = "topic" if rabbitmq else "direct"
    more = {"queue_arguments": {"x-queue-type": "quorum"}} if rabbitmq else {}
    return {name: {"exchange": name, "exchange_type": kind, "routing_key": name, **more} for name in QUEUES}


def broker_config(broker_url: str, visibility_s: float) -> dict[str, Any]:
    """Celery's settings about the broker, for those who send and those who take; queues are `queues`."""
    at = address(broker_url)
    return {
        "broker_url": at.url,
        **({"broker_use_ssl": at.tls} if at.tls else {}),
        **(_rabbitmq() if at.rabbitmq else {"broker_transport_options": _redis(visibility_s)}),
        "task_publish_retry_policy": PUBLISH_RETRY,
    }


def _redis(visibility_s: float) -> dict[str, Any]:
    """Options of the Redis transport.

    - `visibility_timeout` (seconds): above countdown + lease, or a message that is worked on comes again.
      Longer only delays redelivery, which the sweep does not wait for.
    - restore: look for messages of dead workers every 10 s, not every 100 s (kombu issue 2558).
    - time-outs: without them a publish to a hung Redis never returns. BRPOP waits 1 s, so 5 s is safe.
    - `max_connections`: kombu's pool ends at 10, and then acknowledgements fail.
    """
    return {
        "visibility_timeout": visibility_s,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "max_connections": 1_000,
    }


def _rabbitmq() -> dict[str, Any]:
    """Celery's settings on RabbitMQ.

    - confirms: a publish returns when a majority of the nodes has the message, else it fails; a RabbitMQ that
      hangs, or has run out of memory or disk, fails it after 5 s. A route is the one place where Celery takes
      that time for every task; it must then name the queue of what beat sends without one.
    - heartbeats: a connection that is cut is noticed within 20 s (default: two minutes).
    """
    confirmed = {"confirm_timeout": 5}
    return {
        "broker_transport_options": {"confirm_publish": True},
        "broker_heartbeat": 10,
        "task_routes": {
            "consilium.recompute_*": {"queue": "periodic", **confirmed},
            "consilium.*": {"queue": NUDGE_QUEUE, **confirmed},
        },
    }


def looking(at: Address) -> dict[str, Any]:
    """kombu's `Connection(**looking(at))` for a short look at RabbitMQ: it gives up after 2 s."""
    return {
        "hostname": at.url,
        "ssl": at.tls or False,
        "connect_timeout": 2,
        "transport_options": {"read_timeout": 2, "write_timeout": 2},
    }


def lengths(connection: Any, names: Iterable[str]) -> dict[str, int]:
    """Messages that lie in each of these queues of RabbitMQ, over kombu's `connection`.

    A queue that nobody has declared yet holds nothing. Raises one of the connection's own
    `connection_errors` or `channel_errors`.
    """
    found = {}
    for name in names:
        with connection.channel() as channel:  # a question about a missing queue ends its channel
            try:
                found[name] = int(channel.queue_declare(name, passive=True).message_count)
            except connection.channel_errors as error:
                if getattr(error, "code", None) != _NOT_FOUND:
                    raise
                found[name] = 0
    return found


PUBLISH_RETRY: dict[str, float] = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.5,
}
"""The sweep is the retry: nothing waits long on a publish."""
