"""The conclusion of one consultation: from answers and blind grades to lists, and whether a person looks.

    grades ─► peer grading with a memory ─► grade of each answer, reliability of each reviewer
    answers ─► majority, highest-graded and refined list; support of each drug (algorithms, section 6)
    lists   ─► the refined one: no allergy, no interaction that is not worth it (shared/refinement.py)
    both    ─► confidence, where a calibrator has been fitted and passed its test

A list is what an answer starts; stops are counted apart by the same majority. Pure and deterministic: stored
answers, grades, memory and calibrator give the stored conclusion again, bit for bit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shared.calibration import Calibrator, Features
from shared.measures import agreement, right
from shared.memory import Memory
from shared.peer_grading import PeerGrades, grade_peers
from shared.peer_grading import Seat as Reviewer
from shared.refinement import Dials, Problem, Refined, check_dial, refine
from shared.safety.finding import Finding, Severity
from shared.schemas import Gold
from shared.support import GAMMA, Shares, evidence_of, support
from shared.vancouver import ItemGrade, ReviewerMeasure, population_std, vancouver

LEAST_CONFIDENCE = 0.5
"""Below this calibrated P(right) a person must look."""
LEAST_AGREEMENT = 0.34
"""Below this mean Jaccard of the lists a person must look, as long as confidence is not calibrated."""

Form = Literal["memory", "reference"]
"""How grades become consensus grades: peer grading with a memory (without one, plain means), or the published
Vancouver algorithm, inclusive and without de-biasing, for comparison."""


ProblemOf = Callable[[Collection[str], Collection[str]], Problem]
"""What is known of a patient's candidates: of (what was proposed, current drugs that the majority stops)."""


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
class Refinement:
    """How the refined list came about: of what, by which dials, with what result."""

    problem: Problem
    majority: tuple[str, ...]
    dials: Dials
    gamma: float
    result: Refined

    @property
    def screened(self) -> tuple[str, ...]:
        """The majority list without what an allergy bars: what refinement is compared with."""
        barred = {f.drug for f in self.problem.findings if f.kind == "allergy"}
        return tuple(drug for drug in self.majority if drug not in barred)

    @property
    def remaining(self) -> tuple[Finding, ...]:
        """What was found of the refined list and of what the patient goes on taking."""
        given = {*self.result.drugs, *self.problem.current}
        return tuple(
            f for f in self.problem.findings if f.drug in given and (not f.is_pair or f.other in given)
        )


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
    refinement: Refinement | None
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
    gamma: float | None = None,
    dials: Dials | None = None,
    shares: Shares | None = None,
    problem_of: ProblemOf | None = None,
) -> Conclusion:
    """The conclusion; without `problem_of` the refined list is the majority's.

    `gamma`: weight of an answer's grade in the support of its drugs; None: as fitted on outcomes, else as
    simulated. `shares`: how often what each model names belongs.
    The order of answers and grades has no influence. Raises `BadGrade`.
    """
    answers = sorted(answers, key=lambda a: a.seat)
    peers = _peers(_usable(grades, answers), answers, memory, kind, form)
    best = max(answers, key=lambda a: (_grade(peers, a.seat), -a.seat), default=None)
    counts = Counter(drug for a in answers for drug in a.start)
    majority = _majority(counts, len(answers))
    stops = _majority(Counter(drug for a in answers for drug in a.stop), len(answers))
    graded = None if best is None else peers.items.get(best.seat)
    agreed = agreement([a.start for a in answers])
    if gamma is None:
        gamma = shares.gamma_or(GAMMA) if shares else GAMMA
    problem = problem_of(sorted(counts), stops) if problem_of else None
    named = {a.seat: a.start for a in answers}
    supported = support(
        named,
        {a.seat: a.model for a in answers},
        {a.seat: peers.items[a.seat].grade for a in answers if a.seat in peers.items},
        shares,
        kind=kind,
        gamma=gamma,
        evidence=evidence_of(problem, named) if problem else None,
    )
    refinement = None
    if problem is not None:
        refinement = _refine(problem, answers, peers, supported, majority, dials or Dials(), gamma)
    sure = calibrator.confidence(_features(graded, agreed, peers, len(answers))) if calibrator else None
    return Conclusion(
        form=peers.form,
        form_reason=peers.reason,
        answers=peers.items,
        reviewers=peers.reviewers,
        highest_graded=tuple(sorted(best.start)) if best else (),
        majority=majority,
        refined=majority if refinement is None else refinement.result.drugs,
        stops=stops,
        minority=tuple(sorted(set(counts) - set(majority))),
        support=supported,
        refinement=refinement,
        grade=graded.grade if graded else None,
        variance=graded.variance if graded else None,
        agreement=agreed,
        confidence=sure,
        rule=_unsafe(refinement) or _rule(answers, peers, agreed, sure),
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


def _refine(
    problem: Problem,
    answers: Sequence[SeatAnswer],
    peers: PeerGrades,
    support: Mapping[str, float],
    majority: tuple[str, ...],
    dials: Dials,
    gamma: float,
) -> Refinement:
    graded = [(a.start, max(_grade(peers, a.seat), 0.0)) for a in answers]
    grades = {drug: math.fsum(g for start, g in graded if drug in start) for drug in problem.candidates}
    # where a drug is needed and none has enough support: the best answer that harms nothing, as graded
    needed = gamma > 0 and sum(a.decision == "recommend" for a in answers) > len(answers) / 2
    graded_lists = [(-peers.items[a.seat].grade, a.seat, a.start) for a in answers if a.seat in peers.items]
    unanimous = frozenset.intersection(*(a.start for a in answers)) if answers else frozenset()
    result = refine(
        problem,
        support,
        majority,
        grades,
        dials,
        unanimous=unanimous,
        instead=[start for _, _, start in sorted(graded_lists) if start] if needed else (),
    )
    return Refinement(problem, majority, dials, gamma, result)


def _unsafe(refinement: Refinement | None) -> str | None:
    """The first rule of safety that wants a person to look."""
    if refinement is None:
        return None
    if not refinement.result.feasible:
        return "no_feasible_list"
    if refinement.screened != refinement.majority:
        return "allergy_against_majority"
    if any(f.severity is Severity.contraindicated for f in refinement.remaining):
        return "severe_finding"
    return None


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


def dials_of(stored: Mapping[str, float]) -> tuple[Dials, float | None]:
    """Dials and γ as a submission stores them; what is missing is as the code has it, γ None.

    Raises `SettingsError`.
    """
    known = dict(stored)
    gamma = known.pop("grade", None)
    if gamma is not None:
        check_dial("grade", gamma)
    return Dials(**known), gamma


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
        **_as_refined(conclusion.refinement),
    }


def _as_refined(refinement: Refinement | None) -> dict[str, Any]:
    if refinement is None:
        return {"method": None, "findings": [], "trace": [], "refinement": None}
    result = refinement.result
    return {
        "method": result.method,
        "findings": [asdict(f) for f in refinement.remaining],
        "trace": [edit.to_json() for edit in result.edits],
        "refinement": {
            "problem": refinement.problem.to_json(),
            "dials": {**refinement.dials.to_json(), "grade": refinement.gamma},
            "start": result.start.to_json(),
            "utility": result.utility.to_json(),
            "screened": list(refinement.screened),
        },
    }


def as_detail(conclusion: Conclusion) -> dict[str, Any]:
    """What the consensus row keeps beside its columns, as JSON."""
    return {
        "form_reason": conclusion.form_reason,
        "answers": {str(seat): vars(grade) for seat, grade in conclusion.answers.items()},
        "reviewers": {str(seat): vars(measure) for seat, measure in conclusion.reviewers.items()},
    }
