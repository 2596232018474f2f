"""People whose names are known: each is found whole and by parts, and is one placeholder.

    "Maria García-López" → María, Garcia Lopez, M. Lopez, LOPEZ, Dr. Lopez, Lopez, Maria, Lopez's

A name that is also a word (May, Will, Young) is masked where it stands as a name: with a capital within a
sentence, beside a title or another part. One that is also a drug only beside a title or part; one after
which a disease is called, but before a word such as disease or sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from itertools import pairwise

from shared.blind import skeleton
from shared.masking.spans import Reading, Span, bare
from shared.masking.words import (
    AFTER_EPONYM,
    AMBIGUOUS,
    AS_SUBJECT,
    EPONYMS,
    MONTH_NAMES,
    PARTICLES,
    SUFFIXES,
    TITLES,
    is_drug,
    no_names,
)
from shared.medications.words import word_set

_GAP = re.compile(r"\s{1,3}|-|,\s?")
_AFTER_INITIAL = re.compile(r"\.?\s{0,2}|\.-")
_TITLE_GAP = re.compile(r"\.?\s{0,2}")
_IDEOGRAPHS = re.compile(r"[\u2e80-\ud7ff\U00020000-\U0003ffff]")
_UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "ß": "ss", "æ": "ae"}
_BEFORE_MONTH = word_set(
    """
    in of since last next this early late mid until by during from to each every through
    """
)


@dataclass(frozen=True)
class Person:
    """One person: the name as it is given back, its words and initials as they are compared."""

    value: str
    parts: frozenset[str]
    initials: frozenset[str]
    recorded: bool  # the record gives it; else it was found in the text
    any_case: bool  # else it is looked for with capitals only


class People:
    """The people of one consultation, in the order in which they were added: that number is their key."""

    def __init__(self) -> None:
        self.persons: list[Person] = []
        self._by_part: dict[str, list[int]] = {}
        self._written: list[tuple[str, int]] = []  # names in scripts without spaces

    def add(self, name: str, *, recorded: bool) -> None:
        """Know one more person, or nothing new where every part is known already or nothing names anybody."""
        written = Reading(name)
        words = [word for word, _, _ in (written if recorded else self._as_known(written)).words]
        words = [word for word in words if word not in TITLES | SUFFIXES]
        number = len(self.persons)
        if _IDEOGRAPHS.search(name):
            self._written.append((name, number))
        parts = {form for word in words for form in _forms(word, name) if _can_name(word)}
        joined = (a + b for a, b in pairwise(words) if a in PARTICLES or f"{a}-{b}" in skeleton(name))
        parts |= {bare(word) for word in joined if len(word) > 4}  # Al-Hassan is Alhassan
        if not recorded and parts <= self._by_part.keys():
            return
        if not parts and not _IDEOGRAPHS.search(name):
            return
        initials = frozenset(word[0] for word in words)
        dictated = name.islower() and len(words) > 1  # "dr. henry howard . howard said"
        person = Person(_value(name), frozenset(parts), initials, recorded, any_case=recorded or dictated)
        self.persons.append(person)
        for part in parts:
            self._by_part.setdefault(part, []).append(number)

    def number(self, name: str) -> int | None:
        """Whose name this is; None for nobody's who is known."""
        words = self._as_known(Reading(name)).words
        known = [self._by_part.get(bare(word), []) for word, _, _ in words]
        numbers = [number for some in known for number in some]
        return max(numbers, key=lambda n: (numbers.count(n), -n), default=None)

    def spans(self, reading: Reading) -> Iterator[Span]:
        """Every place where one of them is named."""
        for written, number in self._written:
            for match in re.finditer(re.escape(written), reading.text):
                yield Span(match.start(), match.end(), "name", str(number))
        reading = self._as_known(reading)
        at, words = 0, reading.words
        while at < len(words):
            numbers = self._by_part.get(bare(words[at][0]))
            run = numbers and self._run(reading, at, numbers)
            if not run or not self._stands_as_name(reading, *run):
                at += 1
                continue
            first, last, number = run
            yield Span(
                words[first][1],
                words[last][2] - len(words[last][0]) + len(bare(words[last][0])),
                "name",
                str(number),
            )
            at = last + 1

    def _as_known(self, reading: Reading) -> Reading:
        """The reading with names as the table has them: O Brien is obrien, Al-Hassan alhassan."""
        known, taken, initials = copy(reading), 0, {part[0] for part in self._by_part}
        known.words = []
        for (word, start, end), (behind, begin, stop) in pairwise([*reading.words, ("", 0, 0)]):
            if start < taken:
                continue
            if word[0] in initials and bare(word) not in self._by_part:
                plain, capital = word.replace("'", ""), reading.text[start].isupper()
                gap = reading.looks[end:begin]
                short = gap in (" ", ". ", ".") and capital and len(word) < 4
                if (gap == "-" or short) and self._knows(plain + behind):
                    word, end = plain + behind, stop
                elif "'" in bare(word) and self._knows(bare(word).replace("'", "")):
                    word = bare(word).replace("'", "") + word[len(bare(word)) :]
                elif len(word) > 5 and capital and word[-1] == "s" and self._recorded(word[:-1]):
                    word, end = word[:-1], end - 1
            known.words.append((word, start, end))
            taken = end
        return known

    def _knows(self, word: str) -> bool:
        return bare(word) in self._by_part

    def _recorded(self, part: str) -> bool:
        """Whether this is a part of a recorded name and no word besides."""
        return part not in AMBIGUOUS and any(self.persons[n].recorded for n in self._by_part.get(part, ()))

    def _run(self, reading: Reading, at: int, numbers: list[int]) -> tuple[int, int, int]:
        """(first word, last word, whose): the longest name that the part at `at` belongs to."""
        best, words = (at, at, -1), reading.words
        for number in numbers:
            person = self.persons[number]
            first = last = at
            used = {bare(words[at][0])}
            while first and at - first < 3 and self._initial(reading, first - 1, person):
                first -= 1
            for ahead in range(at + 1, min(len(words), at + 8)):
                gap = _AFTER_INITIAL if len(words[ahead - 1][0]) == 1 else _GAP
                if not gap.fullmatch(reading.looks[words[ahead - 1][2] : words[ahead][1]]):
                    break
                word = bare(words[ahead][0])
                if word in used:
                    break
                used.add(word)
                if word in person.parts or (word in person.initials and _written_initial(reading, ahead)):
                    last = ahead
                elif word not in PARTICLES and word not in person.initials:
                    break
            if best[2] < 0 or last - first > best[1] - best[0]:
                best = (first, last, number)
        return best

    def _initial(self, reading: Reading, at: int, person: Person) -> bool:
        """Whether the word at `at` is an initial of the person before the name: "J. Smith", "J.A. Smith"."""
        word, _, end = reading.words[at]
        gap = reading.looks[end : reading.words[at + 1][1]]
        if word not in person.initials or not _AFTER_INITIAL.fullmatch(gap):
            return False
        return "." in gap or _written_initial(reading, at)

    def _stands_as_name(self, reading: Reading, first: int, last: int, number: int) -> bool:
        words, looks = reading.words, reading.looks
        word, start = bare(words[first][0]), words[first][1]
        before = words[first - 1][0] if first else ""
        titled = before in TITLES and bool(_TITLE_GAP.fullmatch(looks[words[first - 1][2] : start]))
        if titled or last > first:
            return True
        after = words[first + 1][0] if first + 1 < len(words) else ""
        written = reading.text[start : start + len(word)]
        if word in EPONYMS and after in AFTER_EPONYM:  # "Wilson disease", "St. John's wort"
            return False
        if is_drug(word) or (word in no_names() and word not in AMBIGUOUS):
            return False
        if word not in AMBIGUOUS and word not in MONTH_NAMES and len(word) > 2:
            return self.persons[number].any_case or written[:1].isupper()
        if not written[:1].isupper() or (written.isupper() and _all_capitals(reading, first)):
            return False
        if (word in MONTH_NAMES and before in _BEFORE_MONTH) or (len(word) <= 2 and after[:1].isdigit()):
            return False  # "in May", "Li 0.8"
        within = bool(re.search(r"[\w,)'][ \t]+$", looks[max(0, start - 4) : start]))
        return within or after in AS_SUBJECT or words[first][0] != word


def _all_capitals(reading: Reading, at: int) -> bool:
    """Whether the words around are in capitals as well, so that those of this one say nothing."""
    around = [reading.words[i] for i in (at - 1, at + 1) if 0 <= i < len(reading.words)]
    return all(reading.text[start:end].isupper() for _, start, end in around)


def _written_initial(reading: Reading, at: int) -> bool:
    """Whether a single letter is written as an initial is, and no word ("Smith a …", "Smith I …")."""
    word, start, end = reading.words[at]
    if len(word) > 1 or not reading.text[start].isupper():
        return False
    return word not in ("a", "i") or reading.text[end : end + 1] in (".", ",", "")


def _can_name(word: str) -> bool:
    return len(word) > 1 and word not in PARTICLES and not word.isdecimal()


def _forms(word: str, name: str) -> set[str]:
    """How a part may be written: O'Brien and OBrien, Müller and Mueller."""
    word = bare(word)
    forms = {word, word.replace("'", "")}
    for original in re.findall(r"[^\W\d_]+", name.lower()):
        if skeleton(original) == word and not original.isascii():
            forms.add(skeleton("".join(_UMLAUTS.get(char, char) for char in original)))
    if any(pair in word for pair in ("ae", "oe", "ue")) and len(word) > 4:
        forms.add(re.sub(r"([aou])e", r"\1", word))
    return forms


def _value(name: str) -> str:
    """The name without title and letters behind it; "Smith, John" is John Smith."""
    family, comma, given = name.partition(",")
    if comma and given.strip() and _letters(given) not in SUFFIXES:
        name = f"{given.strip()} {family.strip()}"
    words = [word for word in name.split() if _letters(word) not in TITLES | SUFFIXES]
    return " ".join(words).strip(" ,;") or name.strip()


def _letters(word: str) -> str:
    """A word's letters, for looking up titles."""
    return skeleton(word).replace(".", "").strip(" ,;")
