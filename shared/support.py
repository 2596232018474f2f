"""Support: P(a drug belongs on the list), from who names it and how their answers were graded (section 6).

    logit P = Σ over seats of ±ℓ, + and γ·(g − mean g) where the seat names the drug

ℓ of a seat is the log-odds that a drug its model names belongs, from labelled history; g is the consensus
grade of its answer, the only way in which reviewers decide. A kind of task with enough labelled decisions
may have a ridge logistic form instead (`shared.support_fit`), if it passed its test. Plain floats, exactly
summed: stored answers and shares give the stored support again, bit for bit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.chemistry.aggregates import parent
from shared.refinement.problem import Problem, Stored

LOG_ODDS = 0.6
"""ℓ of a model without labelled history."""
LEAST_ODDS, MOST_ODDS = 0.2, 2.0
"""ℓ stays within, whatever history says."""
PSEUDO = 20.0
"""So many named drugs the share that a model's own leans on counts for."""
LEAST_LABELLED = 200
"""Labelled drug decisions of a kind below which no seat's ℓ exceeds the sum of the others', and from which a
form of its own is fitted."""
GAMMA = 4.0
"""γ until one is fitted on outcomes: from simulation (benchmarks/grade_weight.py)."""

_STEEPEST = 30.0  # |logit P|: P stays strictly within (0, 1) in floating point


@dataclass(frozen=True)
class Evidence:
    """What else tells whether a drug belongs; L₀ is the majority list."""

    indicated: bool  # it treats a condition of the patient
    alternative: float  # vote share in [0, 1] of the best other candidate of its class; 0 without one
    severity: float  # in [0, 1]: gravest finding of it, alone or beside L₀ and the current medications
    duplicates: int  # drugs of its class within L₀


@dataclass(frozen=True)
class Test(Stored):
    """What a fitted form does on vignettes it has not seen; intervals (95 %) are of its Brier score less
    another's."""

    decisions: int
    vignettes: int
    error: float  # calibration error, ten bins of equal mass
    noise: float  # 95th percentile of that error if its probabilities were true
    brier: float
    brier_before: float  # of what holds without it
    against_before: tuple[float | None, float | None]
    against_base: tuple[float | None, float | None]  # the tested decisions' own share that belong
    why_not: str | None  # why it is not used; None: it passed

    __test__ = False  # no test of pytest's

    @property
    def passed(self) -> bool:
        """Whether it is used."""
        return self.why_not is None


@dataclass(frozen=True)
class Form(Stored):
    """Ridge logistic regression on `row`'s columns less `centre`, divided by `scale`."""

    intercept: float
    coefficients: tuple[float, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    test: Test

    def logit(self, row: Sequence[float]) -> float:
        """log P / (1 − P) of one drug."""
        terms = zip(self.coefficients, row, self.centre, self.scale, strict=True)
        return math.fsum([self.intercept, *(b * ((x - c) / s) for b, x, c, s in terms)])


@dataclass(frozen=True)
class Gamma(Stored):
    """γ as fitted on outcomes."""

    value: float
    test: Test  # against the γ that was in force without it


@dataclass(frozen=True)
class Shares(Stored):
    """A support snapshot's content. The empty one knows nothing."""

    models: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    """Kind → model version → (drugs it named that belong, drugs it named)."""
    decisions: Mapping[str, int] = field(default_factory=dict)
    """Kind → labelled drug decisions."""
    forms: Mapping[str, Form] = field(default_factory=dict)
    """Kind → its own form with its test, passed or not."""
    gamma: Gamma | None = None

    def gamma_or(self, default: float) -> float:
        """The fitted γ where it passed its test, else `default`."""
        return self.gamma.value if self.gamma is not None and self.gamma.test.passed else default


def support(
    named: Mapping[int, frozenset[str]],
    models: Mapping[int, str],
    grades: Mapping[int, float],
    shares: Shares | None,
    *,
    kind: str,
    gamma: float,
    evidence: Mapping[str, Evidence] | None = None,
) -> dict[str, float]:
    """P(belongs) in (0, 1) of every drug that some seat names, in the order of their names.

    `named`: seat → drugs that its answer starts, every seat that answered; `models`: seat → model version;
    `grades`: seat → consensus grade in [0, 1], a seat without one counts as the mean of the others. A form of
    the kind's own is used only where `evidence` tells of every drug. γ = 0 leaves the grades out.
    Raises ValueError where γ is negative or not finite.
    """
    first = logits(named, models, grades, shares, kind=kind, gamma=gamma)
    form = shares.forms.get(kind) if shares else None
    if form is None or evidence is None or not form.test.passed or not first.keys() <= evidence.keys():
        return {drug: _probability(logit) for drug, logit in first.items()}
    return {
        drug: _probability(form.logit(row(votes(named, drug), logit, evidence[drug])))
        for drug, logit in first.items()
    }


def logits(
    named: Mapping[int, frozenset[str]],
    models: Mapping[int, str],
    grades: Mapping[int, float],
    shares: Shares | None,
    *,
    kind: str,
    gamma: float,
) -> dict[str, float]:
    """The first form of support, as log-odds; arguments as of `support`."""
    if not 0 <= gamma < math.inf:
        raise ValueError(f"γ is not a finite number of at least 0: {gamma:g}")
    odds = log_odds({seat: models[seat] for seat in named}, shares, kind)
    known = [grades[seat] for seat in sorted(named) if seat in grades]
    mean = math.fsum(known) / len(known) if known else 0.0
    return {
        drug: math.fsum(
            odds[seat] + gamma * (grades.get(seat, mean) - mean) if drug in drugs else -odds[seat]
            for seat, drugs in named.items()
        )
        for drug in sorted({drug for drugs in named.values() for drug in drugs})
    }


def log_odds(models: Mapping[int, str], shares: Shares | None, kind: str) -> dict[int, float]:
    """ℓ of each seat, in [LEAST_ODDS, MOST_ODDS].

    Below `LEAST_LABELLED` decisions of the kind no seat's exceeds the sum of the others': without the grades
    no seat alone outvotes all others that agree.
    """
    odds = {seat: _of_model(model, shares, kind) for seat, model in models.items()}
    if len(odds) > 1 and (shares is None or shares.decisions.get(kind, 0) < LEAST_LABELLED):
        top = max(sorted(odds), key=lambda seat: odds[seat])
        odds[top] = min(odds[top], math.fsum(value for seat, value in odds.items() if seat != top))
    return odds


def _of_model(model: str, shares: Shares | None, kind: str) -> float:
    """From its share of right drugs of that kind, shrunk toward that of all kinds under the same parent, this
    toward what an unknown model has."""
    counts = {} if shares is None else shares.models
    own = counts.get(kind, {}).get(model, (0, 0))
    family = [of[model] for other, of in counts.items() if parent(other) == parent(kind) and model in of]
    if not any(n for _, n in family):
        return LOG_ODDS
    prior = 1 / (1 + math.exp(-LOG_ODDS))
    wider = (sum(right for right, _ in family) + PSEUDO * prior) / (sum(n for _, n in family) + PSEUDO)
    share = (own[0] + PSEUDO * wider) / (own[1] + PSEUDO)
    return min(max(math.log(share / (1 - share)), LEAST_ODDS), MOST_ODDS)


COLUMNS = (
    "vote share",
    "weighted support",
    "unanimity",
    "indication",
    "alternative",
    "severity",
    "duplicates",
)
"""Of a form's row."""


def row(share: float, logit: float, evidence: Evidence) -> tuple[float, ...]:
    """What a form tells from, by `COLUMNS`; `logit` is the first form's."""
    return (
        share,
        logit,
        float(share == 1.0),
        float(evidence.indicated),
        evidence.alternative,
        evidence.severity,
        float(evidence.duplicates),
    )


def votes(named: Mapping[int, frozenset[str]], drug: str) -> float:
    """Share of the seats that name the drug, in [0, 1]."""
    return sum(drug in drugs for drugs in named.values()) / len(named)


def evidence_of(problem: Problem, named: Mapping[int, frozenset[str]]) -> dict[str, Evidence]:
    """The evidence of every candidate; `named` as of `support`."""
    counts = Counter(drug for drugs in named.values() for drug in drugs)
    majority = {drug for drug, n in counts.items() if n > len(named) / 2}
    beside = majority | {*problem.current}
    found = {}
    for drug in problem.candidates:
        same = [a if b == drug else b for a, b in sorted(problem.same_class) if drug in (a, b)]
        severities = [f.severity.weight for f in problem.findings if f.drug == drug and not f.is_pair]
        severities += [
            weight
            for pair, weight in problem.severities.items()
            if drug in pair and {*pair} <= {drug, *beside}
        ]
        found[drug] = Evidence(
            indicated=bool(problem.treats.get(drug)),
            alternative=max((votes(named, other) for other in same), default=0.0),
            severity=max(severities, default=0.0),
            duplicates=sum(other in majority for other in same),
        )
    return found


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -_STEEPEST), _STEEPEST)))
