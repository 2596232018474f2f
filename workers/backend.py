"""Celery's Redis result backend without its subscriptions.

Nothing here waits for a result: the stock backend would subscribe to one channel per chord member in every
process that sends chords, never let go of them (celery issue 3812), and block for 19 s on a chord sent while
Redis is away. The chord's counting (`on_chord_part_return`) is untouched.
"""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend


class LeanRedisBackend(RedisBackend):
    """Counts chords; never listens for results. Headers must be flat."""

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Nothing to prepare: with flat headers the chord lives in its messages."""

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nobody will ask for the result."""
