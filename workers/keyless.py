"""The Celery application of those that send and look but work on nothing: beat and Flower in a deployment.

They need the broker alone. Started from `workers.app` they would have to be given the site's key, the
database and the models' file as well.
"""

from __future__ import annotations

from celery import Celery

from shared import startup
from shared.settings import get_settings
from workers.config import celery_config

_VISIBILITY_S = 86_400.0
"""Longer than any worker's: Flower reads replies through the same transport, and must not hand the workers'
unacknowledged messages out again."""

app = Celery("consilium")
app.conf.update(celery_config(get_settings(), _VISIBILITY_S))
app.conf.beat_sync_every = 1  # the schedule's file is as old as beat's last act: its health check
startup.over()
