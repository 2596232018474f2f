"""Every Celery setting that is not Celery's default, each with its reason."""

from __future__ import annotations

from typing import Any

from kombu import Queue

from shared.addresses import address
from shared.broker import SWEEP, broker_config, queues
from shared.settings import Settings


def celery_config(settings: Settings, visibility_s: float) -> dict[str, Any]:
    """The configuration; `visibility_s` comes from the longest deadline in the registry."""
    broker = settings.require_broker()
    return {
        "task_routes": {"consilium.recompute_*": {"queue": "periodic"}},
        **broker_config(broker, settings.visibility_s or visibility_s),
        # one client per channel, where kombu makes one per message
        **({} if address(broker).rabbitmq else {"broker_transport": "workers.redis_transport:Transport"}),
        # wait for the broker for ever: an outage is no reason to end
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # flat chords, counted but never listened for
        "result_backend": f"workers.backend.LeanRedisBackend+{settings.require_redis()}",
        "result_backend_thread_safe": True,
        "redis_max_connections": 1_000,
        # a hung Redis must not hang a worker (defaults: 120 s, none, off)
        "redis_socket_timeout": 5,
        "redis_socket_connect_timeout": 2,
        "redis_socket_keepalive": True,
        "redis_backend_health_check_interval": 10,
        # with early acknowledgement any kill loses the chord
        "task_acks_late": True,
        # a killed pool child's task comes back in seconds; crashes are counted in PostgreSQL
        "task_reject_on_worker_lost": True,
        # no result keys, nothing clinical in Redis; and a child lost between storing SUCCESS and counting
        # the chord part would otherwise hang the chord for ever
        "task_ignore_result": True,
        "task_queues": [Queue.from_dict(name, **options) for name, options in queues(broker).items()],
        "task_default_queue": "conclude",
        # a prefetched message's visibility clock runs
        "worker_prefetch_multiplier": 1,
        # waiting messages live in a worker's memory
        "worker_eta_task_limit": 1_000,
        # who waits for a place at a model must not oversleep it (default: looks once a second)
        "worker_timer_precision": 0.1,
        # for Flower; ids only
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        # our logs go through our own formatter (no arguments, no results)
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "timezone": "UTC",
        "beat_schedule": _schedule(settings),
    }


def _schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """What beat sends; the sweep sends the rest. Each task bears two of itself, so two beats do no harm."""
    return {
        "resume_stalled": {
            "task": SWEEP,
            "schedule": settings.sweep_every_s,
            # a sweep that nobody ran in time is replaced by the next
            "options": {"expires": settings.sweep_every_s * 2},
        },
        "deliver_events": {
            "task": "consilium.deliver_events",
            "schedule": settings.sweep_every_s,
            "options": {"expires": settings.sweep_every_s * 2},
        },
    }
