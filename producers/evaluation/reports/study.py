"""The rows of an evaluation by arm and vignette, and what is counted of one consultation.

A consultation without a list is not right: it counts 0 in accuracy, F1, Jaccard, precision and recall, so
that an arm gains nothing by failing. Grades, variances and times count where they are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from producers.evaluation.measured import Measured
from shared.statistics import Estimate, mean

Groups = dict[str, list[float]]
Value = Callable[[Measured], float | None]

STRATEGIES = ("LOCAL", "REMOTE", "RANDOM", "PERFORMANCE", "CHEMISTRY", "FIXED")
LEARNED = ("PERFORMANCE", "CHEMISTRY")
FAMILIES = ("any", "mixed", "same")
USUAL_N = 3
SMALL = 10
"""Fewer vignettes than this make a stratum that is said to be small."""


def accuracy(row: Measured) -> float:
    """1 for right by definition list-1."""
    return float(bool(row.right))


def f1(row: Measured) -> float:
    return row.f1 or 0.0


def variance(row: Measured) -> float | None:
    """Of the consensus, on [0, 1]."""
    return row.variance


def variance_10(row: Measured) -> float | None:
    """Of the consensus, on 0…10."""
    return None if row.variance is None else 100 * row.variance


def amplified(row: Measured) -> float:
    return float(row.amplified)


def rescued(row: Measured) -> float:
    return float(row.rescued)


def disturbed(row: Measured) -> bool:
    """Whether it needed a retry or a substitute."""
    return row.retries > 0 or row.substitutions > 0


def by_vignette(rows: Iterable[Measured], value: Value) -> Groups:
    """Vignette → the known values of its repeats."""
    groups: Groups = defaultdict(list)
    for row in rows:
        if (known := value(row)) is not None:
            groups[row.vignette].append(float(known))
    return dict(groups)


def estimate(rows: Iterable[Measured], value: Value) -> Estimate:
    """The mean with its interval over vignettes."""
    return mean(by_vignette(rows, value))


def vignettes(rows: Iterable[Measured]) -> int:
    return len({row.vignette for row in rows})


@dataclass(frozen=True)
class Arm:
    """One way to answer, with all its consultations."""

    name: str
    strategy: str
    n: int
    families: str
    rows: tuple[Measured, ...]

    @property
    def single(self) -> bool:
        """One model alone: nothing to agree on."""
        return self.n == 1

    @property
    def drawn_as_random(self) -> int:
        """Consultations in which it had no history and drew as RANDOM does."""
        return sum(row.drawn_as == "RANDOM" != self.strategy for row in self.rows)


@dataclass(frozen=True)
class Study:
    """All arms in the order in which reports list them."""

    arms: tuple[Arm, ...]

    @classmethod
    def of(cls, rows: Sequence[Measured]) -> Study:
        """Rows by their arm, in any order."""
        by_arm: dict[str, list[Measured]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: (row.case, row.repeat)):
            by_arm[row.arm].append(row)
        arms = [
            Arm(name, ours[0].strategy, ours[0].n, ours[0].families, tuple(ours))
            for name, ours in by_arm.items()
        ]
        return cls(tuple(sorted(arms, key=_place)))

    @property
    def rows(self) -> list[Measured]:
        return [row for arm in self.arms for row in arm.rows]

    @property
    def ensembles(self) -> list[Arm]:
        return [arm for arm in self.arms if not arm.single]

    @property
    def sizes(self) -> list[int]:
        return sorted({arm.n for arm in self.ensembles})

    @property
    def usual(self) -> tuple[int, str]:
        """Size and families of the primary comparison: fixed by what was asked, never by what came out. Three
        seats where they were asked for, else the smallest ensemble; any families before mixed before same."""
        settings = sorted(
            {(arm.n, arm.families) for arm in self.ensembles},
            key=lambda it: (
                not all(self.find(name, *it) for name in ("CHEMISTRY", "RANDOM")),
                it[0] != USUAL_N,
                it[0],
                _rank(FAMILIES, it[1]),
            ),
        )
        return settings[0] if settings else (USUAL_N, FAMILIES[0])

    def find(self, strategy: str, n: int, families: str) -> Arm | None:
        """The ensemble of this strategy at this size, if it was asked for."""
        return next((a for a in self.arms if (a.strategy, a.n, a.families) == (strategy, n, families)), None)

    def drawn_as_random(self) -> list[str]:
        """A sentence for each arm that had no history to choose by."""
        return [
            f"{arm.name} was drawn as RANDOM in {arm.drawn_as_random} of {len(arm.rows)} consultations: "
            f"there was no history for it. There it shows RANDOM, not {arm.strategy}."
            for arm in self.arms
            if arm.drawn_as_random
        ]


def _place(arm: Arm) -> tuple[bool, int, int, int, str]:
    return arm.single, arm.n, _rank(FAMILIES, arm.families), _rank(STRATEGIES, arm.strategy), arm.name


def _rank(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)
