"""What the panel bears at once and a minute, set by a test at run time; beyond it, 429 with Retry-After.

    POST /control/limits {"requests_per_minute": 60, "window_s": 6, "concurrent": 20, "retry_after_s": 1,
                          "models": {"sim-…": {"concurrent": 2}}}

The outer numbers hold for all models together; `models` holds single ones to numbers of their own besides.
`requests_per_minute` are calls in any `window_s` seconds (60, so that a test can scale the minute). null, or
left out, is no limit. A call that is refused takes no place and does not count to the rate. Setting limits
begins the windows anew; calls that are open stay counted.

In the ledger: `limited`, the refusals by reason; `peak_window`, the most calls that arrived in any `window_s`
seconds, refused ones with them; `peak_window_models`, the same by model.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from panel.models import MODELS

ALL = ""  # the scope of all models together
_RATES = ("requests_per_minute", "concurrent")


class LimitError(ValueError):
    """A table of limits is wrong; the message names the key."""


class Sliding:
    """How many events lie in the last `length_s` seconds, a half-open window, and the most that ever did."""

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self.peak = 0
        self._times: deque[float] = deque()

    def count(self, now: float) -> int:
        """Events in (now − length_s, now]."""
        while self._times and self._times[0] <= now - self.length_s:
            self._times.popleft()
        return len(self._times)

    def add(self, now: float) -> None:
        """One event; times must not go back."""
        self._times.append(now)
        self.peak = max(self.peak, self.count(now))


@dataclass(frozen=True)
class Limits:
    """The limits in force, by scope: `ALL` or a model's name."""

    rates: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    window_s: float = 60.0
    retry_after_s: int = 1

    @classmethod
    def read(cls, table: object) -> Limits:
        """From a table as above. Raises `LimitError`."""
        if not isinstance(table, dict):
            raise LimitError("limits are a table")
        rest = dict(table)
        window_s, retry_after_s = rest.pop("window_s", 60.0), rest.pop("retry_after_s", 1)
        models = rest.pop("models", None) or {}
        if isinstance(window_s, bool) or not isinstance(window_s, int | float) or not 0 < window_s < math.inf:
            raise LimitError("window_s must be a number above 0")
        if isinstance(retry_after_s, bool) or not isinstance(retry_after_s, int) or retry_after_s < 0:
            raise LimitError("retry_after_s must be a whole number from 0")
        if not isinstance(models, dict) or not all(isinstance(own, dict) for own in models.values()):
            raise LimitError("models: a table of tables, one for each model")
        for name in models:
            if name not in MODELS:
                raise LimitError(f"no model {name!r}; known: {', '.join(MODELS)}")
        rates = {ALL: rest, **models}
        for scope, own in rates.items():
            _check(scope or "all models", own)
        return cls(rates, float(window_s), retry_after_s)

    def rate(self, scope: str, name: str) -> float:
        """One limit of one scope; infinite where there is none."""
        given = self.rates.get(scope, {}).get(name)
        return math.inf if given is None else given

    def as_json(self) -> dict[str, Any]:
        """The table, as `read` takes it."""
        models = {name: own for name, own in self.rates.items() if name != ALL}
        whole = {name: self.rates.get(ALL, {}).get(name) for name in _RATES}
        return {**whole, "window_s": self.window_s, "retry_after_s": self.retry_after_s, "models": models}


def _check(whose: str, own: Mapping[str, object]) -> None:
    for key, limit in own.items():
        if key not in _RATES:
            raise LimitError(f"{whose}: no limit {key!r}; known: {', '.join(_RATES)}")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise LimitError(f"{whose}: {key} must be a whole number from 0, or null")


class Capacity:
    """Who is let in: the limits and what they are held against. Times are seconds of any steady clock."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self.set(Limits())

    def set(self, limits: Limits) -> None:
        """New limits; windows and counts begin anew."""
        self.limits = limits
        self.limited: Counter[str] = Counter()
        self._seen: dict[str, Sliding] = defaultdict(lambda: Sliding(limits.window_s))
        self._taken: dict[str, Sliding] = defaultdict(lambda: Sliding(limits.window_s))

    def reset(self) -> None:
        """Forgets counts, peaks and windows; the limits stay, and so do the open calls."""
        self.set(self.limits)

    @contextmanager
    def place(self, model: str, now: float) -> Iterator[str | None]:
        """One arrived call: why it is refused, or None, and then it has its place inside the `with`."""
        scopes = (ALL, model)
        for scope in scopes:
            self._seen[scope].add(now)
        reason = self._refusal(scopes, now)
        if reason is not None:
            self.limited[reason] += 1
            yield reason
            return
        for scope in scopes:
            self._taken[scope].add(now)
            self._open[scope] += 1
        try:
            yield None
        finally:
            for scope in scopes:
                self._open[scope] -= 1

    def _refusal(self, scopes: tuple[str, ...], now: float) -> str | None:
        for scope in scopes:
            if self._open[scope] >= self.limits.rate(scope, "concurrent"):
                return "concurrent"
            if self._taken[scope].count(now) >= self.limits.rate(scope, "requests_per_minute"):
                return "requests_per_minute"
        return None

    def as_json(self) -> dict[str, Any]:
        """The ledger's part of this."""
        return {
            "limited": dict(self.limited),
            "peak_window": self._seen[ALL].peak,
            "peak_window_models": {name: seen.peak for name, seen in self._seen.items() if name != ALL},
        }
