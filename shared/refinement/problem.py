"""What refining a list is given and what it gives: plain values that a consensus row stores as JSON.

Section 6 of the algorithms. Drugs are ingredient codes. C, the candidates, is what some seat proposed; M, the
current medications, is fixed; a list is a subset of C.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from shared.errors import SettingsError
from shared.safety.finding import Finding

Pair = tuple[str, str]
"""Two different drugs, in the order of their names."""


class Stored:
    """A value that goes to JSON and comes back equal, to the last bit."""

    def to_json(self) -> dict[str, Any]:
        """The fields by name, of JSON's types alone."""
        found: dict[str, Any] = self._adapter().dump_python(self, mode="json")
        return found

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The value of `to_json`. Raises pydantic's `ValidationError`."""
        made: Self = cls._adapter().validate_python(value)
        return made

    @classmethod
    @cache
    def _adapter(cls) -> TypeAdapter[Any]:
        return TypeAdapter(cls)


LARGEST_DIAL = 1_000.0
"""Supports are below 1/2: with this much, a dial decides alone already."""


def check_dial(name: str, value: float) -> None:
    """Raises `SettingsError` where it is not within 0 and `LARGEST_DIAL`."""
    if not 0 <= value <= LARGEST_DIAL:
        raise SettingsError(f"the dial {name} is not a number from 0 to {LARGEST_DIAL:g}: {value:g}")


@dataclass(frozen=True)
class Dials(Stored):
    """What counts how much against support, which is a probability less ½: all dials are in that unit.

    Three seats without history give a drug that all name a support of 0.36, two of three 0.15, one −0.15.
    With severity 1 a major interaction (0.6) outweighs even a drug that all want (five of five: 0.45), a
    moderate one (0.25) outweighs a bare majority but not unanimity, a minor one (0.05) decides between equals
    alone. With same_class 0.1 a moderate duplicate (0.35 in all) goes, unless all seats want both drugs:
    then a reason is likely. With treats 0.05 that a condition is treated decides between near equals; alone
    it does not bring in what one of three names.
    Raises `SettingsError` where a dial is not within 0 and `LARGEST_DIAL`.
    """

    severity: float = 1.0
    """λ ≥ 0: for each unit of summed severity; 0 looks at support alone, the hard screens stay."""
    same_class: float = 0.1
    """ν ≥ 0: for each pair of one class within the list."""
    treats: float = 0.05
    """κ ≥ 0: for each condition of the patient that is treated."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_dial(name, value)


@dataclass(frozen=True)
class Terms(Stored):
    """A utility by term, each signed and times its dial: severity and same_class are at most 0."""

    support: float
    severity: float
    same_class: float
    treats: float

    @property
    def total(self) -> float:
        """U."""
        return math.fsum((self.support, self.severity, self.same_class, self.treats))

    def __sub__(self, other: Terms) -> Terms:
        return Terms(
            self.support - other.support,
            self.severity - other.severity,
            self.same_class - other.same_class,
            self.treats - other.treats,
        )


@dataclass(frozen=True)
class Problem(Stored):
    """All that is known of one patient's candidates, but for what the seats think of them.

    `findings`: in any order; one that is neither of a candidate nor of a pair within C ∪ M has no influence.
    `treats`: the patient's conditions that a candidate or current drug treats.
    Raises ValueError where the candidates are not sorted and distinct.
    """

    candidates: tuple[str, ...]
    current: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    treats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    knowledge: str = ""
    """Digest of the safety rules that the findings are from."""

    def __post_init__(self) -> None:
        if list(self.candidates) != sorted(set(self.candidates)):
            raise ValueError("candidates must be sorted and distinct")

    @cached_property
    def barred(self) -> frozenset[str]:
        """Candidates on no feasible list: barred by themselves, or beside what the patient takes."""
        taken = frozenset(self.current)
        alone = {f.drug for f in self.findings if f.bars and not f.is_pair}
        beside = {d for pair, f in self._pairs if f.bars and not taken.isdisjoint(pair) for d in pair}
        return frozenset(self.candidates) & (alone | beside - taken)

    @cached_property
    def barred_pairs(self) -> frozenset[Pair]:
        """Pairs of candidates, neither taken already, that no feasible list holds together."""
        return frozenset(pair for pair, f in self._pairs if f.bars and {*pair}.isdisjoint(self.current))

    @cached_property
    def severities(self) -> Mapping[Pair, float]:
        """Severity in (0, 1] of each pair {d, e} ⊆ C ∪ M, not both in M: its gravest finding."""
        found: dict[Pair, float] = {}
        for pair, f in self._pairs:
            found[pair] = max(found.get(pair, 0.0), f.severity.weight)
        return dict(sorted(found.items()))

    @cached_property
    def same_class(self) -> frozenset[Pair]:
        """Pairs of candidates that are duplicates of each other."""
        duplicates = (_pair(f) for f in self.findings if f.kind == "duplicate" and f.drug != f.other)
        return frozenset(pair for pair in duplicates if {*pair} <= {*self.candidates})

    @cached_property
    def _pairs(self) -> tuple[tuple[Pair, Finding], ...]:
        """The findings of two different drugs of C ∪ M, not both in M."""
        named, taken = {*self.candidates, *self.current}, {*self.current}
        found = ((_pair(f), f) for f in self.findings if f.is_pair and f.drug != f.other)
        return tuple((pair, f) for pair, f in found if {*pair} <= named and not {*pair} <= taken)


def _pair(finding: Finding) -> Pair:
    a, b = sorted((finding.drug, finding.other))
    return a, b


@dataclass(frozen=True)
class Edit(Stored):
    """One step from the majority list towards the refined one; lists of drugs are sorted.

    `gain`: what the utility gains by this step, after those before it. `because`: what was found of a drug
    that leaves, gravest first; empty where support alone decides, and for a drug that is only added.
    `treats`: conditions of the patient that are treated from here on.
    """

    kind: Literal["removed", "added", "exchanged"]
    removed: tuple[str, ...]
    added: tuple[str, ...]
    gain: Terms
    because: tuple[Finding, ...] = ()
    treats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refined(Stored):
    """The refined list L* and how it came from the majority list L₀.

    `feasible` is False where drugs were proposed and every list but the empty one is infeasible; an empty
    list that is merely the best of several is feasible.
    """

    drugs: tuple[str, ...]
    method: Literal["exact", "climbed"]
    utility: Terms  # of L*
    start: Terms  # of L₀, feasible or not
    edits: tuple[Edit, ...]
    feasible: bool
