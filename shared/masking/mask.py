"""The mask of one consultation: its table, and putting it on and off."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from shared.masking.dates import RELATIVE, Calendar
from shared.masking.names import named
from shared.masking.patterns import ages, shaped
from shared.masking.people import People
from shared.masking.places import places
from shared.masking.record import Entry, entries, entry_of, recorded
from shared.masking.spans import Finder, Kind, Reading, Span, apart, compact
from shared.prompts import render_case
from shared.schemas import Vignette

M = TypeVar("M", bound=BaseModel)
Mode = Literal["strict", "structured"]
"""strict: what the record gives, and patterns; structured: what the record gives alone."""

_PLACEHOLDER = re.compile(
    r"\[\s?(NAME|IDENTIFIER|CONTACT|ADDRESS|PLACE)(?:[\s_-]?(\d{1,4}))?\s?\]", re.IGNORECASE
)


@dataclass(frozen=True, repr=False)
class Masked:
    """A masked text, and how many places in it were masked, by kind."""

    text: str
    counts: Counter[Kind]

    @property
    def total(self) -> int:
        """How many places were masked."""
        return self.counts.total()


class Mask:
    """What stands for whom in one consultation; holds clinical text, so it is derived anew, never stored."""

    def __init__(
        self,
        case: str,
        people: People,
        known: list[Entry],
        calendar: Calendar,
        mode: Mode,
        more: Sequence[Finder],
    ) -> None:
        self.case = case
        """The case as `render_case` gives it, unmasked."""
        self._people, self._known, self._calendar = people, known, calendar
        self._mode, self._more = mode, more
        self._placeholders: dict[tuple[Kind, str], str] = {}
        self._values: dict[str, str] = {}
        # what the case alone gives, however written elsewhere
        self._found: dict[tuple[Kind, str], Entry] = {}
        self._in_case: list[Span] | None = None  # found while the table was made

    @classmethod
    def of(cls, vignette: Vignette, mode: Mode = "strict", more: Sequence[Finder] = ()) -> Mask:
        """The mask that this vignette needs, the same in every process. The table does not depend on `mode`.

        `more`: finders beside ours (`installed_finders`).
        """
        identity, case = vignette.identity, render_case(vignette)
        reading = Reading(case)
        people, known = People(), entries(vignette.identity)
        for name in identity.names:
            people.add(name, recorded=True)
        given = len(people.persons)
        mask = cls(case, people, known, Calendar(reading, identity, vignette.context.age), mode, more)
        there = {_placeholder(match) for match in _PLACEHOLDER.finditer(case)}  # somebody else's stay theirs
        for number in range(given):
            mask._enter("name", str(number), people.persons[number].value, there)
        for entry in known:
            mask._enter(entry.kind, entry.key, entry.value, there)
        for start, end in sorted(
            mask._names(reading), key=lambda at: (at[0] - at[1], at)
        ):  # whole names first
            people.add(case[start:end], recorded=False)
        for number in range(given, len(people.persons)):
            mask._enter("name", str(number), people.persons[number].value, there)
        spans, given_keys = mask._apart(case, mask._spans(reading, "strict")), {entry.key for entry in known}
        for span in spans:
            value = case[span.start : span.end]
            mask._enter(span.kind, span.key, value, there)
            if span.kind in ("identifier", "contact") and span.key not in given_keys:
                mask._found.update(((e.kind, e.key), e) for e in entry_of(span.kind, value))
        if mode == "strict" and not mask._found:
            mask._in_case = spans
        return mask

    def mask(self, text: str) -> Masked:
        """The text without what tells who it is about. Masking twice changes nothing more."""
        counts: Counter[Kind] = Counter()
        kept, at = [], 0
        spans = self._in_case if text == self.case else None
        if spans is None:
            spans = self._apart(text, self._spans(Reading(text), self._mode))
        for span in spans:
            known = self._placeholders.get((span.kind, span.key), f"[{span.kind.upper()}]")
            kept += [text[at : span.start], span.instead or known]
            at = span.end
            counts[span.kind] += 1
        return Masked("".join([*kept, text[at:]]), counts)

    def unmask(self, text: str) -> str:
        """The text with what its placeholders stand for; relative dates and ages stay as they are."""
        return _PLACEHOLDER.sub(self._value, text)

    def unmasked(self, answer: M) -> M:
        """A model's answer with its placeholders resolved in every field; one that would outgrow its
        schema by that stays as it is."""
        told = answer.model_dump()
        try:
            return type(answer).model_validate(_each(told, self.unmask))
        except ValidationError:
            return answer

    def _value(self, match: re.Match[str]) -> str:
        return self._values.get(_placeholder(match), match[0])

    def _enter(self, kind: Kind, key: str, value: str, there: set[str]) -> None:
        if kind in ("date", "age") or (kind, key) in self._placeholders:
            return
        number = 1 + sum(known == kind for known, _ in self._placeholders)
        while (placeholder := f"[{kind.upper()}-{number}]") in there or placeholder in self._values:
            number += 1
        self._placeholders[kind, key] = placeholder
        self._values[placeholder] = value

    def _spans(self, reading: Reading, mode: Mode) -> Iterator[Span]:
        names: list[Span] = []
        yield from recorded(self._known, reading)
        yield from self._calendar.spans(reading, recorded_only=mode == "structured")
        for span in self._people.spans(reading):
            if mode == "strict" or self._people.persons[int(span.key)].recorded:
                names.append(span)
        if mode == "strict":
            for start, end in self._names(reading):
                name = reading.text[start:end]
                number = self._people.number(name)
                names.append(Span(start, end, "name", compact(name) if number is None else str(number)))
        yield from names
        if mode == "structured":
            return
        yield from recorded(self._found.values(), reading)
        yield from shaped(reading)
        yield from ages(reading, {span.end for span in names})
        yield from places(reading)
        for finder in self._more:
            for start, end, kind in finder(reading.text):
                if kind != "name":
                    yield Span(start, end, kind, compact(reading.text[start:end]))

    def _names(self, reading: Reading) -> list[tuple[int, int]]:
        """Where a cue, or a finder beside ours, finds a name."""
        found = list(named(reading))
        for finder in self._more:
            found += [(start, end) for start, end, kind in finder(reading.text) if kind == "name"]
        return found

    def _apart(self, text: str, spans: Iterable[Span]) -> list[Span]:
        protected = [match.span() for match in _PLACEHOLDER.finditer(text)]
        protected += [match.span() for match in RELATIVE.finditer(text)]
        return apart(spans, protected, text)


def _placeholder(match: re.Match[str]) -> str:
    """A placeholder, however a text or a model writes it, as the table has it."""
    return f"[{match[1].upper()}-{match[2]}]"


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with each of its strings changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each(inner, change) for inner in value]
    if isinstance(value, dict):
        return {key: _each(inner, change) for key, inner in value.items()}
    return value
