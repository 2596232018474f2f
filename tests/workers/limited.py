"""A limiter on a real Redis and on a clock of its own, and what is in flight."""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis

from embedded.services import Services
from shared.registry import Limits, Model
from shared.settings import Settings
from workers.limits import Limiter, connect

NONE = Limits()


def model(name: str = "oak", **changes: object) -> Model:
    """A model of the provider acme."""
    base = {
        "name": name,
        "provider": "acme",
        "protocol": "openai",
        "location": "remote",
        "family": "oak",
        "base_url": "http://127.0.0.1/v1",
    }
    return Model.model_validate({**base, **changes})


@dataclass
class World:
    """A limiter, its clock, and what is in flight."""

    limiter: Limiter
    client: redis.Redis
    prefix: str
    now: list[float]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def go(
        self,
        called: Model,
        call: str | None = None,
        *,
        tokens: int = 0,
        lease_s: float = 600,
        own: Limits = NONE,
        provider: Limits = NONE,
    ) -> tuple[str, float]:
        """One acquire: the call's id, and the answer."""
        call = call or f"call-{next(self.numbers)}"
        return call, self.limiter.acquire(
            called, call, tokens=tokens, lease_s=lease_s, own=own, provider=provider
        )

    def fill(self, called: Model, own: Limits = NONE, lease_s: float = 600) -> list[str]:
        """Acquire until refused; the calls that may go, in order."""
        gone = []
        while True:
            call, wait_s = self.go(called, own=own, lease_s=lease_s)
            if wait_s > 0:
                return gone
            gone.append(call)

    def limit(self, name: str = "oak") -> float:
        """The learned limit."""
        return self.limiter.snapshot([name])[name].limit

    def in_flight(self, name: str = "oak") -> int:
        """Calls in flight."""
        return self.limiter.snapshot([name])[name].in_flight

    def saturate(self, called: Model, borne: int, seconds: float, own: Limits = NONE) -> tuple[int, int]:
        """Keep the model full for so long; its server bears `borne` calls at once, each takes 0.5 to 0.7 s.

        (answers, 429s). A 429 comes at once and asks for 1 s.
        """
        answers, refused = 0, 0
        running: list[tuple[float, str]] = []
        end = self.now[0] + seconds
        while self.now[0] < end:
            self.now[0] = min([self.now[0] + 0.05, *(ends for ends, _ in running)])
            while running and running[0][0] <= self.now[0]:
                self.limiter.release(called, heapq.heappop(running)[1], "answered")
                answers += 1
            while True:
                call, wait_s = self.go(called, own=own)
                if wait_s > 0:
                    break
                if len(running) >= borne:
                    refused += 1
                    self.limiter.release(called, call, "limited", retry_after_s=1)
                else:
                    takes_s = 0.5 + 0.01 * (next(self.numbers) % 20)
                    heapq.heappush(running, (self.now[0] + takes_s, call))
        for _, call in running:
            self.limiter.release(called, call, "unsent")
        return answers, refused


@contextmanager
def limiters(services: Services) -> Iterator[Callable[..., World]]:
    """Limiters with keys of their own, which are removed."""
    client = connect(services.addresses.broker_url)
    ours, numbers = f"test:{uuid.uuid4()}:", itertools.count()

    def build(**changes: object) -> World:
        prefix = f"{ours}{next(numbers)}:"
        now = [1_000_000_000.0]
        limiter = Limiter(
            client, Settings(**{"in_flight_start": 4, **changes}), prefix=prefix, clock=lambda: now[0]
        )
        return World(limiter, client, prefix, now)

    yield build
    for key in client.scan_iter(f"{ours}*", count=1_000):
        client.delete(key)
    client.close()
