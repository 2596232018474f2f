"""What support learns from labelled drug decisions: shares of right drugs, γ, and a form for each rich kind.

    decisions ─► dealt by vignette ─┬► fit:  γ in one dimension; ridge logistic regression for a kind
                                    └► test: against what holds without it

A vignette stays in its part however history grows (`shared.calibration.set_of`). A γ or a form that does not
help on the tested vignettes is kept with its test, and not used. The shares themselves are counts over all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared import logistic
from shared.calibration import ASKED_FROM, MOST_ERROR, brier, brier_difference, set_of, within_noise
from shared.support import GAMMA, LEAST_LABELLED, Evidence, Form, Gamma, Shares, Test, logits, row, votes

Array = NDArray[np.float64]

PENALTY = 1.0
"""Of a form's coefficients, on standardised columns: one pseudo-decision's worth."""
GAMMA_VARIANCE = 16.0
"""Of γ about its default, before outcomes are seen."""
MOST_GAMMA = 16.0
"""More would make one grade's noise a verdict: differences of 0.1 are within what reviewers disagree by."""
_ROUNDS = 50


@dataclass(frozen=True)
class SeatVote:
    """One seat's part in a decision."""

    model: str
    named: bool
    grade: float | None  # consensus grade of its answer in [0, 1]; None: it has none


@dataclass(frozen=True)
class Decision:
    """One drug that some seat named, in a consultation with an outcome."""

    vignette: str  # digest of what was asked
    kind: str
    drug: str
    seats: tuple[SeatVote, ...]  # all that answered
    belongs: bool  # required or acceptable in the outcome, and not among what must never be
    evidence: Evidence | None = None  # None: it was concluded without


def learn(decisions: Sequence[Decision], *, gamma: float = GAMMA, seed: int = 0) -> Shares:
    """The snapshot of these decisions; their order has no influence. `gamma`: what is in force without one
    fitted."""
    decisions = sorted(decisions, key=repr)
    kinds = dict(sorted(Counter(d.kind for d in decisions).items()))
    fitting = [d for d in decisions if set_of(d.vignette) != "test"]
    testing = [d for d in decisions if set_of(d.vignette) == "test"]
    before = Shares(_counted(fitting), kinds)
    found = _gamma(fitting, testing, before, gamma, seed)
    weight = gamma if found is None or not found.test.passed else found.value
    forms = {}
    for kind, n in kinds.items():
        known = [[d for d in part if d.kind == kind and d.evidence] for part in (fitting, testing)]
        if n >= LEAST_LABELLED and (form := _form(known[0], known[1], before, weight, seed)) is not None:
            forms[kind] = form
    return Shares(_counted(decisions), kinds, forms, found)


def _counted(decisions: Sequence[Decision]) -> dict[str, dict[str, tuple[int, int]]]:
    """Kind → model → (named drugs that belong, named drugs), both in the order of their names."""
    counts: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for decision in decisions:
        of = counts[decision.kind]
        for seat in decision.seats:
            if seat.named:
                right, n = of.get(seat.model, (0, 0))
                of[seat.model] = (right + decision.belongs, n + 1)
    return {kind: dict(sorted(of.items())) for kind, of in sorted(counts.items())}


def _gamma(
    fitting: Sequence[Decision], testing: Sequence[Decision], shares: Shares, default: float, seed: int
) -> Gamma | None:
    """Maximum of the likelihood in γ, shrunk toward its default; None below `LEAST_LABELLED` decisions."""
    if len(fitting) + len(testing) < LEAST_LABELLED or not fitting or not testing:
        return None
    y = _belong(fitting)
    votes_only, with_one = (np.array([_logit(d, shares, g) for d in fitting]) for g in (0.0, 1.0))
    slope, value = with_one - votes_only, default
    for _ in range(_ROUNDS):  # Newton's method; the penalised likelihood is strictly concave in γ
        p = logistic.sigmoid(votes_only + value * slope)
        gradient = float(slope @ (y - p)) - (value - default) / GAMMA_VARIANCE
        step = gradient / (float((slope * slope) @ (p * (1 - p))) + 1 / GAMMA_VARIANCE)
        value = min(max(value + step, 0.0), MOST_GAMMA)
        if abs(step) < 1e-9:
            break
    stated, before = (
        logistic.sigmoid(np.array([_logit(d, shares, g) for d in testing])) for g in (value, default)
    )
    return Gamma(value, _test(testing, stated, before, seed, absolute=False))


def _form(
    fitting: Sequence[Decision], testing: Sequence[Decision], shares: Shares, gamma: float, seed: int
) -> Form | None:
    """The ridge form of one kind; None where one of the parts is empty."""
    if not fitting or not testing:
        return None
    x = np.array([_row(d, shares, gamma) for d in fitting])
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)  # a column that is always the same says nothing
    found = logistic.fit((x - centre) / scale, _belong(fitting), PENALTY)
    tested = np.array([_row(d, shares, gamma) for d in testing])
    before = logistic.sigmoid(np.array([_logit(d, shares, gamma) for d in testing]))
    test = _test(testing, found.probability((tested - centre) / scale), before, seed, absolute=True)
    coefficients, centres, scales = (tuple(v.tolist()) for v in (found.coefficients, centre, scale))
    return Form(found.intercept, coefficients, centres, scales, test)


def _test(decisions: Sequence[Decision], stated: Array, before: Array, seed: int, *, absolute: bool) -> Test:
    """`absolute`: it must be calibrated by itself (algorithms, section 1), not only better than what it
    replaces."""
    y, vignettes = _belong(decisions), [d.vignette for d in decisions]
    error, noise = within_noise(stated, y, vignettes, seed=seed)
    base = np.full(len(y), y.mean())
    against_before, against_base = (
        brier_difference(stated, other, y, vignettes, seed=seed) for other in (before, base)
    )
    asked = {"what holds without it": against_before}
    reasons = []
    if absolute:
        asked["the base rate"] = against_base
        if error > noise:
            reasons.append("calibration error above its noise")
        if len(y) >= ASKED_FROM and error > MOST_ERROR:
            reasons.append(f"calibration error above {MOST_ERROR}")
    reasons += [
        f"Brier score not below that of {name}"
        for name, (_, high) in asked.items()
        if high is None or high >= 0
    ]
    return Test(
        decisions=len(y),
        vignettes=len(set(vignettes)),
        error=error,
        noise=noise,
        brier=brier(stated, y),
        brier_before=brier(before, y),
        against_before=against_before,
        against_base=against_base,
        why_not="; ".join(reasons) or None,
    )


def _belong(decisions: Sequence[Decision]) -> Array:
    return np.array([float(d.belongs) for d in decisions])


def _row(decision: Decision, shares: Shares, gamma: float) -> tuple[float, ...]:
    if decision.evidence is None:
        raise ValueError("a decision without evidence has no row")
    share = votes(_named(decision), decision.drug)
    return row(share, _logit(decision, shares, gamma), decision.evidence)


def _logit(decision: Decision, shares: Shares, gamma: float) -> float:
    """The first form's."""
    models = {k: seat.model for k, seat in enumerate(decision.seats)}
    grades = {k: seat.grade for k, seat in enumerate(decision.seats) if seat.grade is not None}
    found = logits(_named(decision), models, grades, shares, kind=decision.kind, gamma=gamma)
    return found[decision.drug]


def _named(decision: Decision) -> Mapping[int, frozenset[str]]:
    only, none = frozenset((decision.drug,)), frozenset[str]()
    return {k: only if seat.named else none for k, seat in enumerate(decision.seats)}
