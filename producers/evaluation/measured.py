"""One consultation of an evaluation with all that reports measure of it: numbers and codes, no text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from producers.evaluation.listed import Listed


@dataclass(frozen=True)
class Measured:
    """One vignette answered once by one arm. None is not known (or: it ended without a list)."""

    arm: str  # as reports name it, e.g. "CHEMISTRY n=3"
    strategy: str  # asked for: LOCAL, REMOTE, RANDOM, PERFORMANCE, CHEMISTRY, or FIXED for a single model
    drawn_as: str  # as stored: RANDOM where CHEMISTRY had no history
    n: int
    families: str  # any, same or mixed
    repeat: int
    vignette: str  # opaque key of the text: all repeats and arms of one vignette share it
    case: int  # its ordinal, 0-based
    kind: str
    age: float | None  # years
    sex: str | None
    state: str  # completed, needs_review or failed
    reason: str | None  # of a failure, or the rule that asks for a person
    right: bool | None  # list-1; None without a list: counted as not right, and as a failure
    jaccard: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    top_hit: bool | None  # the drug with the highest support is a right one
    list_size: int | None
    lists: Mapping[str, Listed]  # highest_graded, majority, screened, refined, ungraded (refined at γ = 0)
    curve: Mapping[float, Listed]  # λ → the list as refined with it; none where no problem was stored
    grade: float | None  # consensus grade of the highest-graded answer, [0, 1]
    variance: float | None  # consensus variance on [0, 1]; times 100 on 0…10
    agreement: float | None  # mean pairwise Jaccard of the seats' lists, [0, 1]; None for one seat
    confidence: float | None
    seats_right: int
    seats_answered: int
    substitutions: int
    retries: int  # calls beyond one for each answer
    wall_s: float | None  # from dispatch to end
    generation_s: float | None  # of the wall time: until the last answer
    review_s: float | None  # of the wall time: from there to the end
    model_s: float  # sum over calls
    cost_usd: float | None  # None: at least one call without a price
    models: tuple[str, ...]  # who answered
    probability: float | None  # of the draw
    explored: bool

    @property
    def amplified(self) -> bool:
        """A seat was right, the final list is not."""
        return self.seats_right > 0 and not self.right

    @property
    def rescued(self) -> bool:
        """No seat was right, the final list is."""
        return self.seats_right == 0 and bool(self.right)
