"""The Celery application of the figures: the product's own, with task events off unless asked for."""

from __future__ import annotations

import os

import workers.tasks  # noqa: F401 - its module reads the configuration that workers.app has made
from workers.app import app

__all__ = ["app"]

events = bool(os.environ.get("FIGURES_EVENTS"))
app.conf.update(
    worker_send_task_events=events,
    task_send_sent_event=events,
    worker_prefetch_multiplier=int(os.environ.get("FIGURES_PREFETCH", "1")),
)
