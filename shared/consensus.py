"""The conclusion of one consultation: from answers and blind grades to lists, and whether a person looks.

    grades ─► peer grading with a memory ─► grade of each answer, reliability of each reviewer
    answers ─► majority, highest-graded and refined list; support of each drug (algorithms, section 6)
    both    ─► confidence, where a calibrator has been fitted and passed its test

A list is what an answer starts; stops are counted apart by the same majority. Pure and deterministic: stored
answers, grades, memory and calibrator give the stored conclusion again, bit for bit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.calibration import Calibrator, Features
from shared.measures import agreement, right
from shared.memory import Memory
from shared.peer_grading import PeerGrades, grade_peers
from shared.peer_grading import Seat as Reviewer
from shared.schemas import Gold
from shared.vancouver import ItemGrade, ReviewerMeasure, population_std, vancouver

LOG_ODDS = 0.6
"""ℓ: log-odds that a drug named by a seat belongs, for a model without labelled history."""
GAMMA = 1.0
"""γ: weight of an answer's grade against the mean of the grades. Not fitted: there are no outcomes yet."""
LEAST_CONFIDENCE = 0.5
"""Below this calibrated P(right) a person must look."""
LEAST_AGREEMENT = 0.34
"""Below this mean Jaccard of the lists a person must look, as long as confidence is not calibrated."""

Form = Literal["memory", "reference"]
"""How grades become consensus grades: peer grading with a memory (without one, plain means), or the published
Vancouver algorithm, inclusive and without de-biasing, for comparison."""


@dataclass(frozen=True)
class SeatAnswer:
    """What a seat's occupant answered; `model` is its version's key in the memory."""

    seat: int
    occupancy: int
    model: str
    family: str
    decision: str  # recommend, no_medication or defer
    start: frozenset[str]
    stop: frozenset[str]


@dataclass(frozen=True)
class Grade:
    """One grade in [0, 1]: seats of the reviewer and of the answer's author."""

    reviewer: int
    item: int
    grade: float


@dataclass(frozen=True)
class Conclusion:
    """All that is stored of a consensus. Lists are sorted ingredient codes; support is in (0, 1)."""

    form: str
    form_reason: str | None
    answers: Mapping[int, ItemGrade]  # by seat
    reviewers: Mapping[int, ReviewerMeasure]  # by seat
    highest_graded: tuple[str, ...]
    majority: tuple[str, ...]
    refined: tuple[str, ...]
    stops: tuple[str, ...]
    minority: tuple[str, ...]  # proposed, but by no majority
    support: Mapping[str, float]
    grade: float | None  # of the highest-graded answer
    variance: float | None
    agreement: float | None
    confidence: float | None  # P(right); None without a calibrator that passed its test
    rule: str | None  # why a person must look


def conclude_from(
    answers: Sequence[SeatAnswer],
    grades: Sequence[Grade],
    memory: Memory,
    *,
    kind: str,
    calibrator: Calibrator | None = None,
    form: Form = "memory",
    gamma: float = GAMMA,
) -> Conclusion:
    """The conclusion. The order of answers and grades has no influence. Raises `BadGrade`."""
    answers = sorted(answers, key=lambda a: a.seat)
    peers = _peers(_usable(grades, answers), answers, memory, kind, form)
    best = max(answers, key=lambda a: (_grade(peers, a.seat), -a.seat), default=None)
    counts = Counter(drug for a in answers for drug in a.start)
    majority = _majority(counts, len(answers))
    stops = _majority(Counter(drug for a in answers for drug in a.stop), len(answers))
    graded = None if best is None else peers.items.get(best.seat)
    agreed = agreement([a.start for a in answers])
    sure = calibrator.confidence(_features(graded, agreed, peers, len(answers))) if calibrator else None
    return Conclusion(
        form=peers.form,
        form_reason=peers.reason,
        answers=peers.items,
        reviewers=peers.reviewers,
        highest_graded=tuple(sorted(best.start)) if best else (),
        majority=majority,
        refined=majority,
        stops=stops,
        minority=tuple(sorted(set(counts) - set(majority))),
        support=_support(answers, peers, gamma),
        grade=graded.grade if graded else None,
        variance=graded.variance if graded else None,
        agreement=agreed,
        confidence=sure,
        rule=_rule(answers, peers, agreed, sure),
    )


def _peers(
    usable: list[tuple[int, int, float]], answers: Sequence[SeatAnswer], memory: Memory, kind: str, form: Form
) -> PeerGrades:
    if form == "reference":
        found = vancouver(usable)
        return PeerGrades(found.items, found.reviewers, form, None)
    seats = {a.seat: Reviewer(a.model, a.family) for a in answers}
    return grade_peers(usable, seats, memory.pool(kind))


def _features(graded: ItemGrade | None, agreed: float | None, peers: PeerGrades, n: int) -> Features:
    """What confidence is told from."""
    measures = [measure.reliability for measure in peers.reviewers.values()]
    return Features(
        grade=graded.grade if graded else None,
        variance=graded.variance if graded else None,
        agreement=agreed,
        reliability=math.fsum(measures) / len(measures) if measures else None,
        n=n,
    )


def _usable(grades: Sequence[Grade], answers: Sequence[SeatAnswer]) -> list[tuple[int, int, float]]:
    """Grades between seats that answered, in canonical order."""
    seats = {a.seat for a in answers}
    return sorted((g.reviewer, g.item, g.grade) for g in grades if {g.reviewer, g.item} <= seats)


def _grade(peers: PeerGrades, seat: int) -> float:
    found = peers.items.get(seat)
    return found.grade if found else -1.0


def _majority(counts: Counter[str], n: int) -> tuple[str, ...]:
    """Named by more than half of the seats that answered; with two, by both."""
    return tuple(sorted(drug for drug, votes in counts.items() if votes > n / 2))


def _support(answers: Sequence[SeatAnswer], peers: PeerGrades, gamma: float) -> dict[str, float]:
    """P(the drug belongs): logit = Σ over seats of ±ℓ, + and γ·(g − mean g) where the seat names it."""
    known = {a.seat: peers.items[a.seat].grade for a in answers if a.seat in peers.items}
    mean = math.fsum(known.values()) / len(known) if known else 0.0
    support = {}
    for drug in sorted({drug for a in answers for drug in a.start}):
        logit = math.fsum(
            LOG_ODDS + gamma * (known.get(a.seat, mean) - mean) if drug in a.start else -LOG_ODDS
            for a in answers
        )
        support[drug] = 1 / (1 + math.exp(-logit))
    return support


def _rule(
    answers: Sequence[SeatAnswer], peers: PeerGrades, agreed: float | None, sure: float | None
) -> str | None:
    """The first rule that wants a person to look. That no drug is needed may be agreed on like a list."""
    recommending = sum(a.decision == "recommend" for a in answers)
    declining = sum(a.decision == "no_medication" for a in answers)
    if recommending < 2 and declining <= len(answers) / 2:
        return "fewer_than_two_recommend"
    if any(a.seat not in peers.items for a in answers):
        return "answer_without_review"
    if sure is not None:
        return "low_confidence" if sure < LEAST_CONFIDENCE else None
    if agreed is not None and agreed < LEAST_AGREEMENT:
        return "low_agreement"
    return None


def history_rows(
    conclusion: Conclusion, answers: Sequence[SeatAnswer], grades: Sequence[Grade], gold: Gold | None
) -> list[dict[str, Any]]:
    """One history row for each seat that answered (algorithms, section 2): the parts, never the mixture.

    quality: ten times the consensus grade of its answer; variance and review_accuracy: of the seat as a
    reviewer, against K = √2 · std of all grades; generation_accuracy: 1 or 0 against gold. None is not known.
    """
    usable = _usable(grades, answers)
    k = math.sqrt(2) * population_std([g for _, _, g in usable])
    rows = []
    for answer in sorted(answers, key=lambda a: a.seat):
        item = conclusion.answers.get(answer.seat)
        reviewer = conclusion.reviewers.get(answer.seat)
        own = {i for u, i, _ in usable if u == answer.seat}
        compared = own & {i for u, i, _ in usable if u != answer.seat}
        rows.append(
            {
                "seat": answer.seat,
                "occupancy": answer.occupancy,
                "model_version_id": answer.model,
                "quality": None if item is None else 10 * item.grade,
                "variance": None if reviewer is None else reviewer.variance,
                "generation_accuracy": None if gold is None else float(right(answer.start, gold)),
                "review_accuracy": max(0.0, 1 - math.sqrt(reviewer.variance) / k)
                if reviewer is not None and k > 0 and compared
                else None,
            }
        )
    return rows


def as_columns(conclusion: Conclusion) -> dict[str, Any]:
    """What is stored of a conclusion, by column of the consensus row."""
    return {
        "form": conclusion.form,
        "grade": conclusion.grade,
        "variance": conclusion.variance,
        "agreement": conclusion.agreement,
        "confidence": conclusion.confidence,
        "rule": conclusion.rule,
        "highest_graded": list(conclusion.highest_graded),
        "majority": list(conclusion.majority),
        "refined": list(conclusion.refined),
        "stops": list(conclusion.stops),
        "minority": list(conclusion.minority),
        "support": dict(conclusion.support),
        "detail": as_detail(conclusion),
    }


def as_detail(conclusion: Conclusion) -> dict[str, Any]:
    """What the consensus row keeps beside its columns, as JSON."""
    return {
        "form_reason": conclusion.form_reason,
        "answers": {str(seat): vars(grade) for seat, grade in conclusion.answers.items()},
        "reviewers": {str(seat): vars(measure) for seat, measure in conclusion.reviewers.items()},
    }
