"""What would have changed: stored conclusions against those made anew from stored answers and grades."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROUNDING = 1e-9


@dataclass(frozen=True)
class Compared:
    """One conclusion, columns as `shared.consensus.as_columns` gives them: as stored, and as made anew."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def identical(self) -> bool:
        """Every float bit for bit (but for the sign of 0, which JSONB drops), every list, every word."""
        return {k: repr(_plain(v)) for k, v in self.before.items()} == {
            k: repr(_plain(v)) for k, v in self.after.items()
        }

    def differs(self, column: str) -> bool:
        """Whether this column would be another; support by more than rounding, which weights that cancel
        leave behind."""
        before, after = self.before[column], self.after[column]
        if column == "support" and isinstance(before, Mapping) and isinstance(after, Mapping):
            return before.keys() != after.keys() or any(abs(before[d] - after[d]) > ROUNDING for d in before)
        return bool(before != after)

    def moves(self, part: str, number: str) -> list[float]:
        """Absolute changes of a number of `detail`, by seat: ("answers", "grade") on [0, 1], and so on."""
        before, after = self.before["detail"][part], self.after["detail"][part]
        return [abs(after[seat][number] - before[seat][number]) for seat in sorted(before) if seat in after]


@dataclass(frozen=True)
class Moved:
    """Absolute changes of a number: of how many, how many changed, their mean (over all) and the largest."""

    of: int
    changed: int
    mean: float | None
    largest: float | None


@dataclass(frozen=True)
class Changes:
    """All that would have changed, over some consultations."""

    consultations: int
    identical: int
    grades: Moved  # consensus grades of the answers
    reliabilities: Moved  # of the reviewers
    confidences: Moved  # where both are known
    highest_graded: int  # consultations with another highest-graded list, and so on
    majority: int
    refined: int
    findings: int  # with other findings that remain
    support: int
    rule: int
    confidence: int  # another one, or known before or after alone


def changes(rows: Sequence[Compared]) -> Changes:
    """Counted over these conclusions."""
    sure = [(row.before["confidence"], row.after["confidence"]) for row in rows]
    columns = ("highest_graded", "majority", "refined", "findings", "support", "rule", "confidence")
    return Changes(
        consultations=len(rows),
        identical=sum(row.identical for row in rows),
        grades=_moved([move for row in rows for move in row.moves("answers", "grade")]),
        reliabilities=_moved([move for row in rows for move in row.moves("reviewers", "reliability")]),
        confidences=_moved([abs(b - a) for a, b in sure if a is not None and b is not None]),
        **{column: sum(row.differs(column) for row in rows) for column in columns},
    )


def _moved(moves: Sequence[float]) -> Moved:
    if not moves:
        return Moved(0, 0, None, None)
    return Moved(len(moves), sum(m > 0 for m in moves), math.fsum(moves) / len(moves), max(moves))


def _plain(value: Any) -> Any:
    """Objects in the order of their keys: how JSON stored them says nothing. Numbers as floats."""
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return float(value) + 0.0 if isinstance(value, int | float) and not isinstance(value, bool) else value
