"""An element of a FHIR resource and where it stands: typed access that says by FHIRPath what is wrong.

Liberal where nothing can be mistaken: null is absent, a list of one is its element and an element is a list
of one, a number may stand for a string, a bare string for a CodeableConcept (DSTU2 and STU3 wrote statuses
so). Anything else of a wrong type is a `Fault`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ]\d\d:\d\d.*)?)?)?", re.ASCII | re.DOTALL)
_TAG = re.compile(  # what SNOMED CT's fully specified names end in
    r" \((?:disorder|finding|situation|event|procedure|substance|product|observable entity|qualifier value|"
    r"regime/therapy|morphologic abnormality|clinical drug|medicinal product|person)\)$"
)
SYSTEMS = {
    "http://snomed.info/sct": "SNOMED CT",
    "http://loinc.org": "LOINC",
    "http://hl7.org/fhir/sid/icd-10": "ICD-10",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD-10-CM",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD-9-CM",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
}


class Fault(Exception):
    """An element that cannot be read: its FHIRPath, a slug, what is wrong and what to do; never its value.

    `grave`: going on without it could harm the patient, so the whole record waits.
    """

    def __init__(self, path: str, reason: str, *, code: str = "fhir_element", grave: bool = True) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason, self.code, self.grave = path, reason, code, grave


class When(NamedTuple):
    """A FHIR date, dateTime or instant. Ordered; `day` is the first that a partial date can mean."""

    day: dt.date
    raw: str

    @property
    def written(self) -> str:
        """As precise as it was given, without the time of day."""
        return self.raw[:10]


def instant(text: object) -> dt.datetime | None:
    """A FHIR instant, or None; of one without a time zone UTC is assumed."""
    try:
        found = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=dt.UTC) if found is not None and found.tzinfo is None else found


class Code(NamedTuple):
    """A coding: the code system's URI ("" if none was given) and the code."""

    system: str
    code: str


@dataclass(frozen=True)
class Concept:
    """A CodeableConcept: its words ("" if it has codes alone) and its codes."""

    words: str
    codes: tuple[Code, ...]

    @property
    def label(self) -> str:
        """The words; of codes alone the first, with its system: "ICD-10-CM T20.21"."""
        if self.words or not self.codes:
            return self.words
        system, code = self.codes[0]
        return f"{SYSTEMS.get(system, 'code')} {code}"

    def has(self, codes: frozenset[str]) -> bool:
        """Whether any of its codes is one of these, whatever the system."""
        return any(each.code in codes for each in self.codes)


def clean(text: str) -> str:
    """Text without what cannot be stored or shown: control characters and halves of surrogate pairs."""
    return _UNPRINTABLE.sub(" ", text)


def flat(text: str) -> str:
    """The text on one line."""
    return " ".join(clean(text).split())


@dataclass(frozen=True)
class Node:
    """A JSON object and its FHIRPath."""

    value: Mapping[str, Any]
    path: str

    def has(self, name: str) -> bool:
        """Whether the element is there and not null."""
        return self.value.get(name) is not None

    def at(self, name: str) -> str:
        """The FHIRPath of an element of this one."""
        return f"{self.path}.{name}"

    def child(self, name: str) -> Node | None:
        """The object there, None if absent. Raises `Fault`."""
        found = self.value.get(name)
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        if found is None:
            return None
        if not isinstance(found, dict):
            raise Fault(self.at(name), "is not an object: write it as FHIR R4 has it")
        return Node(found, self.at(name))

    def children(self, name: str) -> list[Node]:
        """The objects there. Raises `Fault`."""
        found = self.value.get(name)
        if found is None:
            return []
        if isinstance(found, dict):
            return [Node(found, self.at(name))]
        if not isinstance(found, list):
            raise Fault(self.at(name), "is not a list of objects: write it as FHIR R4 has it")
        nodes = []
        for place, each in enumerate(found):
            if each is None:
                continue
            if not isinstance(each, dict):
                raise Fault(f"{self.at(name)}[{place}]", "is not an object: write it as FHIR R4 has it")
            nodes.append(Node(each, f"{self.at(name)}[{place}]"))
        return nodes

    def text(self, name: str) -> str:
        """The string there on one line, "" if absent. Raises `Fault`."""
        found = self.value.get(name)
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        if found is None:
            return ""
        if isinstance(found, bool) or not isinstance(found, (str, int, float)):
            raise Fault(self.at(name), "is not a string: write it as FHIR R4 has it")
        return flat(str(found))

    def texts(self, name: str) -> list[str]:
        """The strings there. Raises `Fault`."""
        found = self.value.get(name)
        if found is None:
            return []
        each = found if isinstance(found, list) else [found]
        if not all(one is None or isinstance(one, str) for one in each):
            raise Fault(self.at(name), "is not a list of strings: write it as FHIR R4 has it")
        return [flat(one) for one in each if one]

    def number(self, name: str) -> float | None:
        """The number there, None if absent. Raises `Fault`."""
        found = self.value.get(name)
        if found is None:
            return None
        if not isinstance(found, bool) and isinstance(found, (int, float, str)):
            try:
                value = float(found)
            except (ValueError, OverflowError):
                value = float("nan")
            if abs(value) < 1e15:
                return value
        raise Fault(self.at(name), "is not a number that can be: correct it")

    def flag(self, name: str) -> bool:
        """True or false; absent is false. Raises `Fault`."""
        found = self.value.get(name)
        if found is None:
            return False
        if not isinstance(found, bool):
            raise Fault(self.at(name), "is neither true nor false: write it as FHIR R4 has it")
        return found

    def when(self, *names: str) -> When | None:
        """The first of these dates that is there; a Period gives its start. Raises `Fault`."""
        for name in names:
            found = self.value.get(name)
            if found is None:
                continue
            if isinstance(found, dict):
                inner = Node(found, self.at(name)).when("start")
                if inner is not None:
                    return inner
                continue
            return self._date(name, found)
        return None

    def _date(self, name: str, found: object) -> When:
        match = _DATE.fullmatch(found.strip()) if isinstance(found, str) else None
        if match is not None:
            year, month, day = match.groups()
            try:
                return When(dt.date(int(year), int(month or 1), int(day or 1)), match[0])
            except ValueError:
                pass
        raise Fault(self.at(name), "is no date such as 2026-01-31: correct it")

    def concept(self, name: str) -> Concept | None:
        """The CodeableConcept (or Coding, or bare code) there, None if absent or empty. Raises `Fault`."""
        if isinstance(self.value.get(name), (str, int)) and not isinstance(self.value.get(name), bool):
            word = self.text(name)
            return Concept(word, (Code("", word),)) if word else None
        node = self.child(name)
        return None if node is None else node.as_concept()

    def concepts(self, name: str) -> list[Concept]:
        """The CodeableConcepts there. Raises `Fault`."""
        found = self.value.get(name)
        if isinstance(found, list) and found and all(isinstance(each, str) for each in found):
            return [Concept(word, (Code("", word),)) for word in self.texts(name) if word]
        if isinstance(found, str):
            concept = self.concept(name)
            return [concept] if concept else []
        return [concept for node in self.children(name) if (concept := node.as_concept()) is not None]

    def as_concept(self) -> Concept | None:
        """This element as a CodeableConcept or a Coding; None if it says nothing. Raises `Fault`."""
        codings = self.children("coding")
        if not codings and self.has("code"):
            codings = [self]  # a Coding where a CodeableConcept belongs
        displays = [(not each.value.get("userSelected"), each.text("display")) for each in codings]
        codes = tuple(Code(each.text("system"), code) for each in codings if (code := each.text("code")))
        words = self.text("text") or next((d for _, d in sorted(displays, key=_first) if d), "")
        concept = Concept(_TAG.sub("", words), codes)
        return concept if concept.words or concept.codes else None

    def code(self, name: str) -> str:
        """The first code of a status, lower case; "" if absent. Raises `Fault`."""
        concept = self.concept(name)
        if concept is None:
            return ""
        return (concept.codes[0].code if concept.codes else concept.words).lower()

    def quantity(self, name: str) -> str:
        """A Quantity in words ("2.5 mg", ">60 mL/min"), "" if absent. Raises `Fault`."""
        node = self.child(name)
        if node is None:
            return ""
        value = node.number("value")
        if value is None:
            return ""
        unit = node.text("unit") or node.text("code")
        return f"{node.text('comparator')}{shown(value)} {unit.strip('{}')}".strip()


def shown(value: float) -> str:
    """A number as a person writes it: at most four significant digits after rounding, none invented."""
    return f"{value:.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def _first(pair: tuple[bool, str]) -> bool:
    return pair[0]
