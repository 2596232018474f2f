"""Whether a model may be asked now: an operator's pauses and limits, and the circuit breakers.

Read from PostgreSQL at most once a second in each process: a change takes effect within seconds everywhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.queries import model_states, pauses
from db.queries.model_states import State
from db.queries.pauses import Paused
from shared.registry import Limits, Model, limits_of

FRESH_S = 1.0


@dataclass(frozen=True)
class Controls:
    """What is in force."""

    states: dict[str, State]
    paused: Paused

    def pauses(self, source: str) -> bool:
        """Whether nothing new may begin for this source."""
        return self.paused.everything or source in self.paused.sources

    def away(self, model: str) -> bool:
        """Whether the model is paused, or its breaker is open."""
        return model in self.paused.models or self.probe_in_s(model) is not None

    def probe_in_s(self, model: str) -> float | None:
        """Seconds until a probe of an open breaker is due; None if it is closed."""
        state = self.states.get(model)
        return state.probe_in_s if state else None

    def limits(self, model: Model) -> Limits:
        """An operator's limits before those of models.toml."""
        given, set_ = limits_of(model), self.states.get(model.name, State(model.name))
        return Limits(
            set_.max_in_flight or given.max_in_flight,
            set_.requests_per_minute or given.requests_per_minute,
            set_.tokens_per_minute or given.tokens_per_minute,
        )


def read(session: Session) -> Controls:
    """What is in force at this moment."""
    return Controls(model_states.states(session), pauses.paused(session))


class Cached:
    """The controls as this process last read them, at most `FRESH_S` ago."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Session]]) -> None:
        self._transaction = transaction
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._controls: Controls

    def __call__(self) -> Controls:
        """The controls. Raises `OperationalError` if PostgreSQL is away."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH_S:
                with self._transaction() as session:
                    self._controls = read(session)
                self._read_at = time.monotonic()
            return self._controls

    def forget(self) -> None:
        """Something of it has just changed."""
        with self._lock:
            self._read_at = float("-inf")
