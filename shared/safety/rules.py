"""Safety rules: one schema for all kinds, for the built-in tables and for a site's own file.

A table is CSV (UTF-8, lines that start with `#` are comments) with the columns

    id,kind,drug,with,when,severity,effect,mechanism,advice,source

`kind`      interaction | allergy | condition | pregnancy | renal | age | modifier
`drug`      an ingredient code ("warfarin") or a class ("@nsaid")
`with`      interaction, modifier: the other drug or class; allergy: the allergen, a drug or class, to which
            the patient is allergic; condition: a condition code; else empty
`when`      terms joined by "&", all of which must hold; without one the rule always applies:
            age, egfr, strength_mg compared by < <= > >= with a number (years; mL/min/1.73 m²; mg of one dose
            of `drug`), pregnant, sex=female, route=topical (of `drug`), condition=peptic_ulcer,
            taking=@corticosteroid (a further drug, in the list or taken already)
`severity`  contraindicated | major | moderate | minor; empty for a modifier. In a site's file also `off`:
            the built-in rule with this id is switched off, and no other field is needed
`effect`    what may happen, in a few words ("major bleeding"). A modifier does not change a severity: its
            effect names the fact that raises or lowers it ("age 65 or over raises it")

A fact that is not known (None) satisfies no term.
"""

from __future__ import annotations

import csv
import hashlib
import json
import operator
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, Protocol, get_args

from shared.errors import KnowledgeError
from shared.medications import ingredients
from shared.medications.classes import classes_of, members
from shared.safety.finding import Severity

VERSION = "1.0"
"""Version of the built-in tables; a changed table is a new version."""

BUILTIN = ("interactions.csv", "allergies.csv", "pregnancy.csv", "renal.csv", "conditions.csv", "ages.csv")

RuleKind = Literal["interaction", "allergy", "condition", "pregnancy", "renal", "age", "modifier"]
KINDS: tuple[RuleKind, ...] = get_args(RuleKind)
COLUMNS = ("id", "kind", "drug", "with", "when", "severity", "effect", "mechanism", "advice", "source")

_NEEDS_OTHER = {"interaction", "allergy", "condition", "modifier"}
_NEEDS_TERM = {"renal": "egfr", "age": "age", "pregnancy": "pregnant"}
_COMPARED = re.compile(r"(age|egfr|strength_mg)(<=|>=|<|>)(\d+(?:\.\d+)?)")
_NAMED = re.compile(r"(route|sex|condition|taking)=(@?[\w +.-]+)")
_CODE = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_MILLIGRAMS = re.compile(r"(\d+(?:\.\d+)?) ?(mcg|mg|g)")
_IN_MG = {"mcg": 1e-3, "mg": 1.0, "g": 1e3}


class PatientFacts(Protocol):
    """What a rule may ask of a patient; None is not known."""

    @property
    def age(self) -> float | None: ...  # years
    @property
    def sex(self) -> str | None: ...
    @property
    def pregnant(self) -> bool | None: ...
    @property
    def egfr(self) -> float | None: ...  # mL/min/1.73 m²
    @property
    def conditions(self) -> frozenset[str]: ...


class OrderFacts(Protocol):
    """What a rule may ask of an order: its route and the strength of one dose, as the normaliser reads them."""

    @property
    def route(self) -> str | None: ...
    @property
    def strength(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Term:
    """One condition of a rule: `fact` compared with `value` (a number, or a word; `taking`: drug or class)."""

    fact: str
    op: str = ""
    value: float | str = ""

    def holds(self, patient: PatientFacts, order: OrderFacts | None, taking: Collection[str]) -> bool:
        """Whether it holds; what is not known (None) satisfies nothing."""
        match self.fact:
            case "pregnant":
                return patient.pregnant is True
            case "sex":
                return patient.sex == self.value
            case "condition":
                return self.value in patient.conditions
            case "taking":
                return not covered(str(self.value)).isdisjoint(taking)
            case "route":
                return order is not None and order.route == self.value
            case "strength_mg":
                known = _milligrams(order)
            case fact:
                known = patient.age if fact == "age" else patient.egfr
        return known is not None and bool(_COMPARE[self.op](known, self.value))

    def __str__(self) -> str:
        return f"{self.fact}{self.op}{self.value:g}" if isinstance(self.value, float) else (
            f"{self.fact}{self.op}{self.value}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a table. `other` is its column `with`; `severity` is None for a modifier."""

    id: str
    kind: RuleKind
    drug: str
    other: str
    when: tuple[Term, ...]
    severity: Severity | None
    effect: str
    mechanism: str
    advice: str
    source: str

    def holds(self, patient: PatientFacts, order: OrderFacts | None, taking: Collection[str]) -> bool:
        """Whether every term of `when` holds; `order` is that of `drug`, `taking` all other drugs."""
        return all(term.holds(patient, order, taking) for term in self.when)

    def asks(self, fact: str) -> bool:
        """Whether `when` has a term about this fact."""
        return any(term.fact == fact for term in self.when)


@dataclass(frozen=True, slots=True)
class Match:
    """A rule about a pair of drugs {a, b}, seen from a: whether a stands on the side of `drug`."""

    rule: Rule
    first_is_drug: bool


@dataclass(frozen=True)
class Knowledge:
    """All rules in force, with look-ups by ingredient; `digest` is SHA-256 over rules and classes."""

    rules: tuple[Rule, ...]
    version: str
    digest: str
    _fields: dict[tuple[str, str], list[Rule]] = field(init=False, repr=False, compare=False)
    _partners: dict[str, Mapping[str, tuple[Match, ...]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        fields: dict[tuple[str, str], list[Rule]] = {}
        for rule in self.rules:
            fields.setdefault((rule.kind, rule.drug), []).append(rule)
            if rule.kind in ("interaction", "modifier") and rule.other != rule.drug:
                fields.setdefault((rule.kind, rule.other), []).append(rule)
        object.__setattr__(self, "_fields", fields)

    def about(self, kind: RuleKind, ingredient: str) -> tuple[Rule, ...]:
        """The rules of a kind (no pairs) whose `drug` is the ingredient or one of its classes."""
        return tuple(rule for name in _names(ingredient) for rule in self._fields.get((kind, name), ()))

    def partners(self, ingredient: str) -> Mapping[str, tuple[Match, ...]]:
        """Every other drug that an interaction or modifier pairs with the ingredient → those rules."""
        found = self._partners.get(ingredient)
        if found is None:
            found = self._partners[ingredient] = self._paired(ingredient)
        return found

    def _paired(self, ingredient: str) -> Mapping[str, tuple[Match, ...]]:
        paired: dict[str, list[Match]] = {}
        names = _names(ingredient)
        for kind in ("interaction", "modifier"):
            rules = {id(r): r for name in names for r in self._fields.get((kind, name), ())}.values()
            for rule in rules:
                for mine, others, first in ((rule.drug, rule.other, True), (rule.other, rule.drug, False)):
                    if mine in names:
                        for other in covered(others) - {ingredient}:
                            paired.setdefault(other, []).append(Match(rule, first))
        return {other: tuple(matches) for other, matches in paired.items()}


def covered(name: str) -> frozenset[str]:
    """The ingredients that a field of a rule stands for: the members of a class, or the drug itself."""
    return members(name[1:]) if name.startswith("@") else frozenset((name,))


def _names(ingredient: str) -> tuple[str, ...]:
    return (ingredient, *(f"@{name}" for name in sorted(classes_of(ingredient))))


def _milligrams(order: OrderFacts | None) -> float | None:
    found = _MILLIGRAMS.fullmatch(order.strength) if order is not None and order.strength else None
    return float(found[1]) * _IN_MG[found[2]] if found else None


@cache
def builtin() -> Knowledge:
    """The built-in tables. Raises `KnowledgeError` naming every bad line."""
    return load(None)


def load(path: Path | None) -> Knowledge:
    """The built-in tables, and on top of them a site's file: same id overrides, a new id adds, `off` drops.

    Raises `KnowledgeError` naming every bad line with file, line, field, reason and remedy.
    """
    problems: list[str] = []
    rules: dict[str, Rule] = {}
    for name in BUILTIN:
        table = resources.files(__package__).joinpath(name)
        if table.is_file():
            _read(name, table.read_text(encoding="utf-8"), rules, problems)
    version = VERSION
    if path is not None:
        _read(str(path), _text(path), rules, problems, site=True)
        version += "+site"
    if problems:
        raise KnowledgeError(problems)
    return Knowledge(tuple(rules.values()), version, _digest(rules.values()))
