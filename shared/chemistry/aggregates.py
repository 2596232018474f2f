"""Sums over stored history: all that chemistry reads of it. Made in SQL, so memory does not grow with rows.

Models go by their names in models.toml; the rows of an earlier version count at a quarter, those of the one
before at a sixteenth, so sums are weighted and need not be whole numbers. `wrong` and `right` count rows
with a known outcome alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FOLDS = 10
"""Vignettes are dealt into so many folds by their digest: the same vignette is always in one fold."""


def parent(kind: str) -> str:
    """What a kind of task leans on where it is thin: all kinds that share its first part."""
    return kind.split("/", 1)[0]


@dataclass(frozen=True)
class ModelSums:
    """One model's answers in one kind of task. Quality is on 0…10, shares in [0, 1], latency in seconds."""

    kind: str
    model: str
    family: str
    runs: float  # answers
    quality_runs: float
    quality: float  # sum
    quality_squares: float
    outcomes: float  # answers with a known outcome
    right: float
    accuracy_runs: float
    accuracy: float  # sum of the mixture (algorithms, section 2)
    latency_runs: float
    latency_s: float  # sum
    seats: float = 0.0  # seats that were given to it, whoever answered in the end
    failures: float = 0.0  # of those, the ones it was replaced or excused in


@dataclass(frozen=True)
class PairSums:
    """Consultations where both answered and both have a known outcome; a < b by name."""

    kind: str
    fold: int  # of the vignette, 0 … FOLDS - 1
    a: str
    b: str
    together: float
    wrong_a: float
    wrong_b: float
    wrong_both: float


@dataclass(frozen=True)
class EnsembleSums:
    """Consultations of the same members: their consensus' grade on 0…10, and whether it was right."""

    kind: str
    fold: int
    members: tuple[str, ...]  # sorted
    consultations: float  # with a grade
    quality: float  # sum of ten times the consensus grade
    quality_squares: float
    outcomes: float
    right: float


@dataclass(frozen=True)
class Aggregates:
    """A whole history as chemistry sees it, each list in canonical order, and its SHA-256 (hex)."""

    models: Sequence[ModelSums]
    pairs: Sequence[PairSums]
    ensembles: Sequence[EnsembleSums]
    rows: int
    digest: str
