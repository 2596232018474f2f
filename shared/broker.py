"""What producers and workers agree on about the broker: queues, message version, connection options.

Plain data: neither side imports the other, a producer sends by task name.
"""

from __future__ import annotations

from typing import Any, Literal

from shared.settings import Settings

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
"""A key of ours in the broker's database: gone means that the broker has forgotten everything."""

MODEL_QUEUES = ("remote", "remote.urgent", "local", "local.urgent")
URGENT_QUEUES = ("remote.urgent", "local.urgent")
QUEUES = (*MODEL_QUEUES, "conclude", "periodic", "quarantine")

Location = Literal["remote", "local"]


def model_queue(location: Location, *, urgent: bool) -> str:
    """The queue of a call to a model."""
    return f"{location}.urgent" if urgent else location


def transport_options(settings: Settings, visibility_s: float) -> dict[str, Any]:
    """Options of the Redis transport.

    - `visibility_timeout` (seconds): above countdown + lease, or a message that is worked on comes again.
      Longer only delays redelivery, which the sweep does not wait for.
    - restore: look for messages of dead workers every 10 s, not every 100 s (kombu issue 2558).
    - time-outs: without them a publish to a hung Redis never returns. BRPOP waits 1 s, so 5 s is safe.
    - `max_connections`: kombu's pool ends at 10, and then acknowledgements fail.
    """
    return {
        "visibility_timeout": settings.visibility_s or visibility_s,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "max_connections": 1_000,
    }


PUBLISH_RETRY: dict[str, float] = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.5,
}
"""The sweep is the retry: nothing waits long on a publish."""
