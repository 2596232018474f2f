"""Misspelled words → the one known word they can be, within a bound of edits.

Reach: one edit (a letter too many, missing, wrong, or two neighbours exchanged) for words of five letters or
more, two (Levenshtein) for words of ten or more if the first letter is right, since many drugs differ from
another only in how they begin. A word is read as another only where all known words within reach mean the
same, so that a slip between look-alikes stays unknown; a known word is never read as another.

Candidates come from an index of pieces: of a known word cut into k + 1 pieces, k edits leave one whole, so it
stands in what was written, moved by at most k letters.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Hashable, Iterator, Mapping

SHORTEST = 5
"""Letters of the shortest word that is ever corrected; of that length the first letter must be right."""
LONG = 10
"""Letters from which on a known word may be two edits away."""

SOUNDED = 7
"""Letters from which on a word is also read as the one that sounds the same."""

_SPELLED = (
    ("ae", "e"),
    ("oe", "e"),
    ("ph", "f"),
    ("th", "t"),
    ("ch", "c"),
    ("rh", "r"),
    ("k", "c"),
    ("y", "i"),
)
_DOUBLE = re.compile(r"([a-z])\1")
_ENDING = re.compile(r"(?:um|[aeo])$", re.MULTILINE)

_Pieces = list[tuple[int, int, dict[str, list[str]]]]


class Speller:
    """Known words, each with what it means; words of equal meaning do not compete.

    `never`: words that are right as they are though unknown here (English words, other substances).
    """

    def __init__(self, meanings: Mapping[str, Hashable], never: Collection[str] = ()) -> None:
        self._meanings = {word: meaning for word, meaning in meanings.items() if _eligible(word)}
        self._never = frozenset(never)
        self._index: dict[int, _Pieces] = {}
        for word in self._meanings:
            size = len(word)
            if size not in self._index:
                count = _bound(size) + 1
                cuts = [size * k // count for k in range(count + 1)]
                self._index[size] = [(a, b, {}) for a, b in itertools.pairwise(cuts)]
            for start, end, words in self._index[size]:
                words.setdefault(word[start:end], []).append(word)

    def read(self, word: str) -> str | None:
        """The known word meant by an unknown one in lower case; None where there is none or more than one."""
        if not _eligible(word) or word in self._never or word in self._meanings:
            return None
        found = set(self._reached(word))
        if not found or len({self._meanings[name] for name in found}) > 1:
            return None
        trusted = [
            name for name in found if name[0] == word[0] or _swapped(word, name) or _within(word, name, 1)
        ]
        return min(trusted, key=lambda name: (not _within(word, name, 1), name), default=None)

    def near(self, word: str, meant: str) -> bool:
        """Whether a word is one edit from a known one that means another thing than `meant`."""
        other = {name for name in self._reached(word) if self._meanings[name] != self._meanings.get(meant)}
        return any(_within(word, name, 1) or len(word) == len(name) for name in other)

    def _reached(self, word: str) -> Iterator[str]:
        for i in range(len(word) - 1):
            swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
            if swapped in self._meanings:
                yield swapped
        for size in range(len(word) - 2, len(word) + 3):
            bound = _bound(size)
            if abs(size - len(word)) > bound or size not in self._index:
                continue
            for start, end, pieces in self._index[size]:
                for moved in range(-min(bound, start), bound + 1):
                    for name in pieces.get(word[start + moved : end + moved], ()):
                        if (size > SHORTEST or name[0] == word[0]) and _within(word, name, bound):
                            yield name


class Sounder:
    """Known words by what they sound like in any language's spelling: "hidroclorotiazida", "ibuprophen"."""

    def __init__(self, meanings: Mapping[str, Hashable], never: Collection[str] = ()) -> None:
        self._never = frozenset(never)
        self._words: dict[str, str | None] = {}
        known = sorted(filter(_eligible, meanings))
        for word, sound in zip(known, _sound("\n".join(known)).split("\n"), strict=True):
            other = self._words.setdefault(sound, word)
            if other is None or meanings[other] != meanings[word]:
                self._words[sound] = None

    def read(self, word: str) -> str | None:
        """The one known word that sounds like an unknown one in lower case; else None."""
        if len(word) < SOUNDED or not _eligible(word) or word in self._never:
            return None
        return self._words.get(_sound(word))


def _sound(words: str) -> str:
    """Words, one a line, without what languages spell differently: "hydroxyzine" → "hidroxizin"."""
    for written, meant in _SPELLED:
        words = words.replace(written, meant)
    return _ENDING.sub("", _DOUBLE.sub(r"\1", words))


def _swapped(a: str, b: str) -> bool:
    """Whether two words of equal length differ only in their first two letters' order."""
    return a[1::-1] == b[:2] and a[2:] == b[2:]


def _eligible(word: str) -> bool:
    return len(word) >= SHORTEST and word.isascii() and word.isalpha()


def _bound(size: int) -> int:
    return 2 if size >= LONG else 1


def _within(a: str, b: str, bound: int) -> bool:
    """Whether at most `bound` insertions, deletions and substitutions make one of the other."""
    if abs(len(a) - len(b)) > bound:
        return False
    shorter = min(len(a), len(b))
    start = 0
    while start < shorter and a[start] == b[start]:
        start += 1
    if start == shorter:
        return True  # the rest is only length, which is within the bound
    if not bound:
        return False
    a, b = a[start:], b[start:]
    return _within(a[1:], b[1:], bound - 1) or _within(a, b[1:], bound - 1) or _within(a[1:], b, bound - 1)
