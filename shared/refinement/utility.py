"""The utility of a list of drugs (algorithms, section 6; after FLAME, arXiv 2505.20218).

    U(L) = Σ_{d ∈ L} s(d) − λ·Σ_{d,e ⊆ L ∪ M, not both in M} severity(d, e)
           − ν·(pairs of one class within L) + κ·(conditions of the patient treated by L ∪ M)

s(d) = P(d belongs) − ½. A list is written as a code: an integer with one bit for each candidate on it, the
first candidate's bit the highest. So of two lists of one size the one whose names come first has the larger
code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from shared.refinement.problem import Dials, Problem, Terms


class Utility:
    """U and feasibility of the lists of one problem. Raises ValueError for a support outside [0, 1]."""

    def __init__(self, problem: Problem, support: Mapping[str, float], dials: Dials) -> None:
        self.problem, self.dials = problem, dials
        n = len(problem.candidates)
        self.bits = {drug: 1 << (n - 1 - i) for i, drug in enumerate(problem.candidates)}
        missing = [d for d in problem.candidates if not 0 <= support.get(d, math.nan) <= 1]
        if missing:
            raise ValueError(f"no support in [0, 1] for {', '.join(missing)}")
        self.support = {bit: support[drug] - 0.5 for drug, bit in self.bits.items()}
        taken = set(problem.current)
        self.severities = [
            (self.code(set(pair) - taken), weight) for pair, weight in problem.severities.items()
        ]
        """(code, severity): counts on every list that holds the code; one bit beside a current drug."""
        self.same_class = sorted(map(self.code, problem.same_class))
        self.clashes = sorted(map(self.code, problem.barred_pairs))
        self.barred = self.code(problem.barred)
        self.treated = {c for d in problem.current for c in problem.treats.get(d, ())}
        """Conditions that the current medications treat already."""
        self.conditions = self._conditions()

    def _conditions(self) -> dict[str, int]:
        """Of each further condition, the code of the candidates that treat it."""
        found: dict[str, int] = {}
        for drug, bit in self.bits.items():
            for condition in {*self.problem.treats.get(drug, ())} - self.treated:
                found[condition] = found.get(condition, 0) | bit
        return dict(sorted(found.items()))

    def code(self, drugs: Iterable[str]) -> int:
        """The list's code. Raises KeyError for a drug that is no candidate."""
        return sum({self.bits[drug] for drug in drugs})

    def drugs(self, code: int) -> tuple[str, ...]:
        """The list of a code, sorted."""
        return tuple(drug for drug, bit in self.bits.items() if bit & code)

    def severity(self, code: int) -> float:
        """Summed severity of the pairs that are in L ∪ M because of L, at least 0."""
        return math.fsum(weight for pair, weight in self.severities if pair & code == pair)

    def terms(self, code: int) -> Terms:
        """U of any list, feasible or not, each term summed without rounding in between.

        What bars a drug by itself has no weight here; a barred pair counts its severity.
        """
        duplicates = sum(pair & code == pair for pair in self.same_class)
        return Terms(
            support=math.fsum(s for bit, s in self.support.items() if bit & code),
            severity=0.0 - self.dials.severity * self.severity(code),
            same_class=0.0 - self.dials.same_class * duplicates,
            treats=self.dials.treats * (len(self.treated) + len(self.treating(code))),
        )

    def treating(self, code: int) -> tuple[str, ...]:
        """The conditions that the list treats and the current medications alone do not, sorted."""
        return tuple(condition for condition, treating in self.conditions.items() if treating & code)

    def bars(self, code: int) -> int:
        """How many things make the list infeasible: its barred drugs and barred pairs."""
        return (code & self.barred).bit_count() + sum(pair & code == pair for pair in self.clashes)

    def feasible(self, bits: Iterable[int]) -> int:
        """A feasible list: these drugs in this order, each unless it cannot join those before it."""
        kept = 0
        for bit in bits:
            if not self.bars(kept | bit):
                kept |= bit
        return kept
