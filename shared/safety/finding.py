"""What a safety rule found: which drug, with what, how severe, why, and by which source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Kind = Literal[
    "interaction", "allergy", "cross_allergy", "duplicate", "pregnancy", "renal", "age", "condition"
]
"""`allergy` bars whatever its severity; `cross_allergy` (a related drug) only where it is contraindicated."""


class Severity(StrEnum):
    """How severe a finding is; the highest is never overridden by a dial."""

    contraindicated = "contraindicated"
    major = "major"
    moderate = "moderate"
    minor = "minor"

    @property
    def weight(self) -> float:
        """Severity as a number in (0, 1], as the utility of a list counts it."""
        return WEIGHTS[self]


WEIGHTS = {
    Severity.contraindicated: 1.0,
    Severity.major: 0.6,
    Severity.moderate: 0.25,
    Severity.minor: 0.05,
}


@dataclass(frozen=True)
class Finding:
    """One rule that applies to one drug of a list, or to a pair.

    `drug` is an ingredient code of the list (or, where both are taken already, a current one); `other` the
    ingredient code of the other drug (interaction, duplicate), or the allergen, condition or fact of the
    patient that it meets.
    """

    kind: Kind
    drug: str
    other: str
    severity: Severity
    effect: str  # what may happen: "major bleeding"
    mechanism: str
    source: str
    rule: str  # the rule's id in the knowledge tables
    modifiers: tuple[str, ...] = ()  # facts that raise or lower it: "age 65 or over raises it"
    advice: str = ""

    @property
    def is_pair(self) -> bool:
        """Whether `other` is a drug too."""
        return self.kind in ("interaction", "duplicate")

    @property
    def bars(self) -> bool:
        """Whether no dial may keep the drug (or the pair) on a list."""
        return self.kind == "allergy" or self.severity is Severity.contraindicated
