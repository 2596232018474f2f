"""What is kept of a patient while an input is read: small facts, no raw resources."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from producers.readers.fhir.identity import Who
from producers.readers.fhir.node import Node, When
from producers.readers.fhir.references import reference, resolve
from shared.errors import RecordError


class Unused(Exception):
    """A resource says nothing that a vignette tells; why, as the account counts it."""


class Retracted(Unused):
    """A resource says of itself that it does not hold; nor does an earlier version of it."""


@dataclass(frozen=True)
class Source:
    """A resource as its reader gets it: the element, its Bundle's aliases, what is contained in it."""

    node: Node
    aliases: Mapping[str, str]
    draft: bool = False

    def refers(self, name: str, kind: str) -> str:
        """The key of the Reference called `name`, "" if absent. Raises `Fault`."""
        return reference(self.node, name, kind, self.aliases)

    def resolve(self, written: str, kind: str) -> str:
        """The key of a reference as written."""
        return resolve(written, kind, self.aliases)


@dataclass(frozen=True, slots=True)
class Person:
    """The Patient: what goes into a vignette, and who it is."""

    id: str
    sex: str | None
    sex_at_birth: str | None
    birth: When | None
    died: dt.date | None  # the day; date.min where only the fact is known
    who: Who = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Condition:
    """A diagnosis or problem that has not been refuted."""

    words: str
    codes: frozenset[str]
    active: bool
    start: When | None
    end: When | None  # abatement
    encounter: str  # key


@dataclass(frozen=True, slots=True)
class Allergy:
    """An active allergy or intolerance; without a substance where the source says that none is known."""

    substance: str
    detail: str  # category, criticality, manifestations
    none_known: str  # "No known drug allergy"
    start: When | None


@dataclass(frozen=True, slots=True)
class Drug:
    """An order, statement, dispense or administration of a medicine."""

    kind: str
    name: str  # "" where `medication` is to be looked up
    medication: str  # key of a Medication
    path: str  # of the element that names it
    dose: str
    state: str  # "current", "completed", "stopped", "proposed", "avoid"
    start: When | None
    end: dt.date | None  # last day that the source gives: of the supply, or of the statement's period
    encounter: str
    line: int
    file: str


@dataclass(frozen=True, slots=True)
class Encounter:
    """A contact; `diagnosed`: it holds a reason or diagnosis itself."""

    id: str
    start: When | None
    words: str  # type and class
    reasons: tuple[str, ...]
    diagnosed: bool
    last: dt.date | None  # period.end


@dataclass(frozen=True, slots=True)
class Finding:
    """An observation: its label, its value in words, and the number where it is one in the known unit."""

    label: str
    shown: str
    value: float | None
    when: When
    pregnant: bool | None = None
    key: str = ""  # of its resource
    updated: dt.datetime | None = None  # meta.lastUpdated


@dataclass(frozen=True, slots=True)
class Note:
    """A note in plain text, compressed."""

    title: str
    when: When | None
    encounter: str
    packed: bytes = field(repr=False)


@dataclass(slots=True)
class Chart:
    """One patient's facts, by the ids of their resources."""

    file: str
    line: int
    person: Person | None = None
    conditions: dict[str, Condition] = field(default_factory=dict)
    allergies: dict[str, Allergy] = field(default_factory=dict)
    drugs: dict[str, Drug] = field(default_factory=dict)
    encounters: dict[str, Encounter] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    notes: dict[str, Note] = field(default_factory=dict)
    mentioned: set[str] = field(default_factory=set)  # keys of people, places and Medications
    others: Who = field(default_factory=Who)  # relatives, and names that references show
    versions: dict[str, dt.datetime] = field(default_factory=dict)  # meta.lastUpdated by key, where given
    retracted: dict[str, dt.datetime | None] = field(default_factory=dict)  # the same, of what does not hold
    faults: list[tuple[RecordError, str]] = field(default_factory=list)  # with the file
    faulty: Counter[tuple[str, str]] = field(default_factory=Counter)  # (type, code) of those
    used: Counter[str] = field(default_factory=Counter)
    latest: dt.date | None = None
    size: int = 0  # bytes of the input, about

    def note_day(self, when: When | None, today: dt.date) -> None:
        """Keep the latest day on which something was recorded; days to come do not count."""
        if when is not None and when.day <= today and (self.latest is None or when.day > self.latest):
            self.latest = when.day
