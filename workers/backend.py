"""Celery's Redis result backend without its subscriptions.

Nothing here waits for a result: the stock backend would subscribe to one channel per chord member in every
process that sends chords, never let go of them (celery issue 3812), and block for 19 s on a chord sent while
Redis is away. The chord's counting is untouched, but for what it costs where Redis does not answer.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.backends.redis import RedisBackend
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log = logging.getLogger("consilium.backend")


class LeanRedisBackend(RedisBackend):
    """Counts chords; never listens for results. Headers must be flat."""

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Nothing to prepare: with flat headers the chord lives in its messages."""

    def on_chord_part_return(
        self, request: Any, state: str, result: Any, propagate: bool | None = None, **kwargs: Any
    ) -> None:
        """Count. Where Redis is away this is left out: the answer is stored, the sweep goes on from there.

        Celery tries twice; an error raised from here the second time would leave a pool of threads for good
        with a slot that is taken, and a message that nobody acknowledges.
        """
        try:
            super().on_chord_part_return(request, state, result, propagate, **kwargs)
        except (RedisError, OperationalError) as error:
            log.warning("chord not counted: redis away type=%s", type(error).__name__)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nobody will ask for the result."""

    def add_pending_result(self, result: Any, *_: Any, **__: Any) -> Any:
        """Nobody will ask for it: a chord that is sent would subscribe to each of its members."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Nothing was subscribed to."""
        return result
