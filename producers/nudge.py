"""Sending by name: the nudge that something waits (losing it costs one sweep), and checks of models."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from shared.broker import NUDGE, NUDGE_QUEUE, PUBLISH_RETRY, transport_options
from shared.settings import Settings, get_settings

_VISIBILITY_S = 900  # a producer consumes nothing; workers have their own


@lru_cache(maxsize=1)
def _sender(broker_url: str) -> Celery:
    sender = Celery("consilium-producer", broker=broker_url)
    sender.conf.update(
        broker_transport_options=transport_options(get_settings(), _VISIBILITY_S),
        task_publish_retry_policy=PUBLISH_RETRY,
        task_ignore_result=True,
        broker_connection_timeout=2,
    )
    return sender


def nudge(settings: Settings) -> bool:
    """Send it; False if the broker is away (what was accepted is stored, and the sweep will find it)."""
    return send(settings, NUDGE, (), NUDGE_QUEUE)


def send(settings: Settings, task: str, args: tuple[Any, ...], queue: str) -> bool:
    """Send a task by its name; False if the broker is away. A producer never imports a task."""
    try:
        _sender(settings.require_broker()).send_task(task, args, queue=queue, ignore_result=True)
    except OperationalError:
        return False
    return True
