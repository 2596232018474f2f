"""What was found in a text, and which of it stands where finds overlap."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Literal

from shared.blind import skeleton

Kind = Literal["name", "identifier", "contact", "address", "place", "date", "age"]

Finder = Callable[[str], Iterable[tuple[int, int, Kind]]]
"""One more way to find what names somebody: (start, end, kind) in the text. It must find the same in
every process, and fetch nothing."""

_NOT_ALNUM = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Span:
    """A place in a text that is to be masked; `key` says what it stands for, equal for equal things."""

    start: int
    end: int
    kind: Kind
    key: str
    instead: str | None = None  # what stands there then; None: the placeholder of its key


_OTHER = re.compile(r"[^\x00-\x7f]")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class Reading:
    """A text taken apart once for all finders: its skeleton, its words, and where each word stands.

    Finders start from words and digits, since a pattern tried at every letter costs a hundred times as much.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.looks = skeleton(text)  # of the same length
        self.plain = _OTHER.sub(self._plain, text)  # so is this
        self.words = [(match[0], match.start(), match.end()) for match in _WORD.finditer(self.looks)]
        self.starts: dict[str, list[int]] = {}
        for word, start, _ in self.words:
            self.starts.setdefault(word, []).append(start)
        self.digits = [match.start() for match in re.finditer(r"\d+", text)]

    def _plain(self, other: re.Match[str]) -> str:
        """Hyphens, spaces, slashes and digits of all kinds in ASCII; letters as they are written."""
        looks = self.looks[other.start()]
        return looks if other[0].isdecimal() or not looks.isalnum() else other[0]

    def at(self, words: Iterable[str]) -> Iterator[int]:
        """Where any of these words begins."""
        for word in words:
            yield from self.starts.get(word, ())


def bare(word: str) -> str:
    """A word without the possessive's 's."""
    return word[:-2] if word.endswith("'s") else word


def compact(text: str) -> str:
    """Letters and digits only, lower case, no accents: what values are compared by."""
    return _NOT_ALNUM.sub("", skeleton(text))


def apart(spans: Iterable[Span], protected: Iterable[tuple[int, int]], text: str) -> list[Span]:
    """The spans in order without overlaps: the longest stands, of another what sticks out stays masked."""
    taken: list[tuple[int, int]] = sorted(protected)
    chosen: list[Span] = []
    for span in sorted(dict.fromkeys(spans), key=lambda s: (s.start - s.end, s.start, s.kind)):
        for start, end in _outside(span.start, span.end, taken):
            if any(c.isalnum() for c in text[start:end]):
                chosen.append(replace(span, start=start, end=end))
                insort(taken, (start, end))
    return sorted(chosen, key=lambda s: s.start)


def _outside(start: int, end: int, taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of start … end is not taken; `taken` is in order and has no overlaps."""
    at, free = bisect_left(taken, (start, start)), []
    if at and taken[at - 1][1] > start:
        start = taken[at - 1][1]
    while at < len(taken) and taken[at][0] < end:
        if start < taken[at][0]:
            free.append((start, taken[at][0]))
        start, at = taken[at][1], at + 1
    return [*free, (start, end)] if start < end else free


@cache
def installed_finders() -> tuple[Finder, ...]:
    """The finders that installed packages offer as entry points of the group `consilium.masking`.

    A package that cannot be loaded is an error here: a find that silently does not happen is a leak.
    """
    found = entry_points(group="consilium.masking")
    return tuple(entry.load() for entry in sorted(found, key=lambda entry: entry.name))
