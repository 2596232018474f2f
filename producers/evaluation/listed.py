"""One list of a consultation, measured: against gold, and by what interacts in it and with what is taken."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from shared.measures import f1, right
from shared.refinement import Problem
from shared.safety.finding import Severity
from shared.schemas import Gold


@dataclass(frozen=True)
class Interacting:
    """Pairs that interact, moderately or worse, each counted once however many rules name it.

    `within`: two drugs of the list; `taken`: one of the list and one that the patient takes already;
    `severity`: summed as the utility counts it, each pair (duplicates too) by its gravest finding; `minor`:
    further pairs whose gravest interaction is minor. What guidelines combine (aspirin and clopidogrel) is
    minor: a list that leaves it out is no better.
    """

    within: int
    taken: int
    severity: float
    minor: int = 0

    @property
    def pairs(self) -> int:
        """All that the list brings about, but for minor ones."""
        return self.within + self.taken

    @property
    def of_any_severity(self) -> int:
        """All that the list brings about."""
        return self.pairs + self.minor


@dataclass(frozen=True)
class Listed:
    """A list against gold, and its interactions (None: no findings were stored with this consultation)."""

    right: bool  # list-1
    f1: float
    size: int
    interacting: Interacting | None

    @property
    def possible(self) -> int:
        """Pairs of drugs of the list."""
        return self.size * (self.size - 1) // 2

    @property
    def rate(self) -> float | None:
        """DDI rate: interacting pairs of the list over all its pairs; None below two drugs."""
        return self.interacting.within / self.possible if self.interacting and self.possible else None


def listed(drugs: Collection[str], gold: Gold, problem: Problem | None) -> Listed:
    """The list measured; `problem` as it was stored, with the findings over all drugs anybody proposed."""
    given = set(drugs)
    found = None if problem is None else interacting(given, problem)
    return Listed(right(given, gold), f1(given, gold), len(given), found)


def interacting(drugs: Collection[str], problem: Problem) -> Interacting:
    """What interacts among these drugs (of the problem's candidates) and with the current ones."""
    given, either = set(drugs), {*drugs, *problem.current}
    gravest: dict[frozenset[str], float] = {}
    for f in problem.findings:
        pair = frozenset((f.drug, f.other))
        if f.kind == "interaction" and given & pair and either >= pair:
            gravest[pair] = max(gravest.get(pair, 0.0), f.severity.weight)
    pairs = [pair for pair, weight in gravest.items() if weight >= Severity.moderate.weight]
    within = sum(given >= pair for pair in pairs)
    severity = sum(weight for pair, weight in problem.severities.items() if either.issuperset(pair))
    return Interacting(within, len(pairs) - within, severity, len(gravest) - len(pairs))
