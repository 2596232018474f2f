"""The Celery application: `celery -A workers.app worker`. Flower and beat start from the same one."""

from __future__ import annotations

from celery import Celery

from shared.registry import visibility_s
from workers.config import celery_config
from workers.context import get_context

_context = get_context()

app = Celery("consilium", include=["workers.tasks", "workers.lifecycle"])
app.conf.update(celery_config(_context.settings, visibility_s(_context.registry, _context.settings)))
