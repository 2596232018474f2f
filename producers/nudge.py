"""Sending by name: the nudge that something waits (losing it costs one sweep), and checks of models."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from shared.broker import NUDGE, NUDGE_QUEUE, broker_config, queues
from shared.settings import Settings

_VISIBILITY_S = 900  # a producer consumes nothing; workers have their own


@lru_cache(maxsize=1)
def _sender(broker_url: str) -> Celery:
    sender = Celery("consilium-producer", set_as_current=False)
    sender.conf.update(
        broker_config(broker_url, _VISIBILITY_S),
        # who sends to RabbitMQ declares the queue, and must declare what the workers do
        task_queues=[Queue.from_dict(name, **options) for name, options in queues(broker_url).items()],
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
