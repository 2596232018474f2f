"""A worker's context, and an application whose messages nobody takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from celery import Celery

from embedded.services import Services
from tests import accepted


@pytest.fixture
def sending(services: Services) -> Iterator[tuple[Celery, redis.Redis]]:
    """An application on the real broker, which nobody consumes."""
    with accepted.sending(services) as both:
        yield both


@pytest.fixture
def app(sending: tuple[Celery, redis.Redis]) -> Celery:
    """The application."""
    return sending[0]


@pytest.fixture
def broker(sending: tuple[Celery, redis.Redis]) -> redis.Redis:
    """A client of the broker."""
    return sending[1]
