"""A safety rule: one schema for all kinds, for the built-in tables and for a site's own file.

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

import operator
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from shared.medications.classes import members
from shared.safety.finding import Severity

RuleKind = Literal["interaction", "allergy", "condition", "pregnancy", "renal", "age", "modifier"]
KINDS: tuple[RuleKind, ...] = get_args(RuleKind)

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
    """What a rule may ask of an order: route and strength of one dose, as the normaliser reads them."""

    @property
    def route(self) -> str | None: ...
    @property
    def strength(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Term:
    """One condition of a rule: `fact` compared with `value`, a number or word (`taking`: drug or class)."""

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
        value = f"{self.value:g}" if isinstance(self.value, float) else self.value
        return f"{self.fact}{self.op}{value}"


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

    def row(self) -> dict[str, str]:
        """The rule as a line of a table, by column."""
        return {
            "id": self.id,
            "kind": self.kind,
            "drug": self.drug,
            "with": self.other,
            "when": "&".join(map(str, self.when)),
            "severity": self.severity or "",
            "effect": self.effect,
            "mechanism": self.mechanism,
            "advice": self.advice,
            "source": self.source,
        }

    def asks(self, fact: str) -> bool:
        """Whether `when` has a term about this fact."""
        return any(term.fact == fact for term in self.when)


def covered(name: str) -> frozenset[str]:
    """The ingredients that a field of a rule stands for: the members of a class, or the drug itself."""
    return members(name[1:]) if name.startswith("@") else frozenset((name,))


def _milligrams(order: OrderFacts | None) -> float | None:
    found = _MILLIGRAMS.fullmatch(order.strength) if order is not None and order.strength else None
    return float(found[1]) * _IN_MG[found[2]] if found else None
