"""The panel's own books: which owed answer was asked for how often, and whether twice at the same time.

A key is the part of X-Request-ID before the colon (the owed answer). Numbers only: no prompt, no answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Call:
    """One open call; what the server fills in while it answers."""

    status: int = 0  # HTTP status, 0 while open
    prompt_tokens: int = 0
    completion_tokens: int = 0
    fault: str | None = None


@dataclass
class Ledger:
    """Counts since the last reset. `left` are calls whose client went away before the answer."""

    keys: dict[str, Counter[str]] = field(default_factory=dict)
    models: dict[str, Counter[str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    open_by_key: Counter[str] = field(default_factory=Counter)
    open: int = 0
    peak_open: int = 0
    total: int = 0

    @contextmanager
    def call(self, key: str | None, model: str, *, repair: bool) -> Iterator[Call]:
        """Books one call from its arrival to its answer, or to its client's leaving.

        An overlap is booked when a call arrives while another one for its key is open. A call without a key
        (no X-Request-ID) counts for its model alone.
        """
        mine = self.models.setdefault(model, Counter())
        books = [mine]
        if key is not None:
            books.append(self.keys.setdefault(key, Counter()))
            if self.open_by_key[key]:
                _add(books, "overlaps")
            self.open_by_key[key] += 1
        _add(books, "calls")
        if repair:
            _add(books, "repairs")
        self.total += 1
        self.open += 1
        self.peak_open = max(self.peak_open, self.open)
        call = Call()
        try:
            yield call
        finally:
            self.open -= 1
            if key is not None:
                self.open_by_key[key] -= 1
                if not self.open_by_key[key]:
                    del self.open_by_key[key]
            if call.fault:
                self.faults[call.fault] += 1
            _add(books, "left" if call.status == 0 else "answered" if call.status == 200 else "errors")
            _add(books, "prompt_tokens", call.prompt_tokens)
            _add(books, "completion_tokens", call.completion_tokens)

    def as_json(self) -> dict[str, Any]:
        """The books: totals, then by key and by model."""
        return {
            "total": self.total,
            "open": self.open,
            "peak_open": self.peak_open,
            "overlaps": sum(book["overlaps"] for book in self.models.values()),
            "faults": dict(self.faults),
            "models": {name: _row(book) for name, book in self.models.items()},
            "keys": {key: {**_row(book), "open": self.open_by_key[key]} for key, book in self.keys.items()},
        }

    def reset(self) -> None:
        """Forgets all counts; calls still open stay open and are booked to nobody when they end."""
        self.keys, self.models, self.faults = {}, {}, Counter()
        self.total, self.peak_open = 0, self.open


_COLUMNS = (
    "calls",
    "answered",
    "errors",
    "left",
    "repairs",
    "overlaps",
    "prompt_tokens",
    "completion_tokens",
)


def _row(book: Counter[str]) -> dict[str, int]:
    return {column: book[column] for column in _COLUMNS}


def _add(books: list[Counter[str]], what: str, count: int = 1) -> None:
    for book in books:
        book[what] += count
