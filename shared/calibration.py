"""Confidence: P(the refined list is right by list-1), learned from consultations with an outcome.

    cases ─► dealt by vignette ─┬► fit:    each of `calibration_forms`
                                ├► choose: the lowest Brier score; that form is fitted once more, on both sets
                                └► test:   calibration error against its own noise, Brier against two others

The three sets share no vignette, and a vignette stays in its set however history grows. A calibrator that
fails its own test is kept with its report, and states no confidence. Ten bins cannot show an error of 0.05 at
small n, so the error is held against what outcomes drawn from the stated probabilities give (consistency
resampling: Bröcker & Smith, "Increasing the Reliability of Reliability Diagrams", 2007), those of one
vignette as alike as they are. That noise is of the test alone: what is fitted on few cases has its own beside
it and fails more often, be its form ever so right. So most vignettes fit, and few test: with k of the ten
bins' freedom used by the form, errors grow by √(1 + tested / fitted) in these k.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared import statistics
from shared.calibration_forms import FORMS, Form, Isotonic, Logistic
from shared.measures import DEFINITION

__all__ = ["Calibrator", "Case", "Features", "Isotonic", "Logistic", "Report", "fit"]  # forms: re-exported

Array = NDArray[np.float64]

LEAST_VIGNETTES = 300
"""With an outcome, before anything is fitted; the same as the setting `calibration_vignettes`."""
FIT_SHARE, CHOOSE_SHARE = 0.7, 0.15
"""Of the vignettes; the rest tests."""
MOST_ERROR, ASKED_FROM = 0.05, 1500
"""The calibration error is also held against this from so many tested consultations on."""
DRAWS = 1000  # of outcomes, for the error's noise
_CHUNK = 100  # draws held at once


@dataclass(frozen=True)
class Features:
    """What a consultation tells of itself without gold. None is not known."""

    grade: float | None  # of the highest-graded answer, [0, 1]
    variance: float | None  # of that grade
    agreement: float | None  # mean pairwise Jaccard of the lists, [0, 1]
    reliability: float | None  # mean of the reviewers', [0, 1]
    n: int  # seats that answered

    def row(self) -> tuple[float, ...] | None:
        """As numbers, the variance as a standard deviation; None where one is not known."""
        known = (self.grade, self.variance, self.agreement, self.reliability)
        if any(value is None or not math.isfinite(value) for value in known):
            return None
        grade, variance, agreement, reliability = (float(value) for value in known if value is not None)
        return grade, math.sqrt(variance), agreement, reliability, float(self.n)


@dataclass(frozen=True)
class Case:
    """A consultation with an outcome; `vignette` is the digest of what was asked."""

    vignette: str
    features: Features
    right: bool


Row = tuple[Case, tuple[float, ...]]


@dataclass(frozen=True)
class Report:
    """A calibrator's test on vignettes it has not seen. Intervals are of Brier minus the other's Brier."""

    consultations: int
    vignettes: int
    error: float  # calibration error, ten bins of equal mass
    noise: float  # 95th percentile of that error if the stated probabilities were true
    brier: float
    brier_grade: float  # of the raw grade
    brier_base: float  # of the tested consultations' own share of right ones
    against_grade: tuple[float | None, float | None]  # 95 %, vignettes resampled
    against_base: tuple[float | None, float | None]
    why_not: str | None  # why its confidence is not used; None: it passed

    @property
    def passed(self) -> bool:
        """Whether its confidence is used."""
        return self.why_not is None


@dataclass(frozen=True)
class Calibrator:
    """A calibration snapshot's content."""

    model: Form
    definition: str  # of "right"
    vignettes: Mapping[str, int]  # in each set: fit, choose, test
    chosen_by: Mapping[str, tuple[float, float]]  # each form's Brier score and error on the second set
    report: Report

    @property
    def form(self) -> Literal["isotonic", "logistic"]:
        """By its name in snapshots."""
        return "isotonic" if isinstance(self.model, Isotonic) else "logistic"

    def stated(self, features: Features) -> float | None:
        """P(right), whether the test was passed or not; None where a feature is not known."""
        row = features.row()
        return None if row is None else self.model.probability(row)

    def confidence(self, features: Features) -> float | None:
        """P(right); None where a feature is not known, or if this calibrator failed its own test."""
        return self.stated(features) if self.report.passed else None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; floats survive bit for bit."""
        return {
            "form": self.form,
            "model": asdict(self.model),
            "definition": self.definition,
            "vignettes": dict(self.vignettes),
            "chosen_by": dict(self.chosen_by),
            "report": asdict(self.report),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Calibrator | None:
        """The inverse of `to_json`; {} knows nothing and is None."""
        if not body:
            return None
        return cls(
            model=_model(body["model"]),
            definition=body["definition"],
            vignettes=dict(body["vignettes"]),
            chosen_by=_tuples(body["chosen_by"]),
            report=Report(**_tuples(body["report"])),
        )


def _model(body: Mapping[str, Any]) -> Form:
    if "starts" not in body:
        return Logistic(**_tuples(body))
    inner = None if body["inner"] is None else Logistic(**_tuples(body["inner"]))
    return Isotonic(**{**_tuples(body), "inner": inner})


def _tuples(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _tuple(value) for key, value in body.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(each) for each in value) if isinstance(value, list) else value


def fit(
    cases: Sequence[Case], *, least: int = LEAST_VIGNETTES, draws: int = DRAWS, seed: int = 0
) -> Calibrator | None:
    """Fit, choose and test on disjoint vignettes; the order of the cases has no influence.

    None with fewer than `least` vignettes (cases with an unknown feature do not count), or where one of the
    three sets is empty.
    """
    rows = [(case, row) for case in cases if (row := case.features.row()) is not None]
    if len({case.vignette for case, _ in rows}) < max(least, 1):
        return None
    dealt: dict[str, list[Row]] = {name: [] for name in ("fit", "choose", "test")}
    for case, row in sorted(rows, key=lambda pair: (pair[0].vignette, pair[1], pair[0].right)):
        dealt[set_of(case.vignette)].append((case, row))
    if not all(dealt.values()):
        return None
    x, y = _arrays(dealt["fit"])
    models = {name: make(x, y) for name, make in FORMS.items()}
    chosen, chosen_by = _choose(models, dealt["choose"])
    model = FORMS[chosen](*_arrays([*dealt["fit"], *dealt["choose"]]))
    return Calibrator(
        model=model,
        definition=DEFINITION,
        vignettes={name: len({case.vignette for case, _ in part}) for name, part in dealt.items()},
        chosen_by=chosen_by,
        report=_test(model, dealt["test"], draws, seed),
    )


def set_of(vignette: str) -> Literal["fit", "choose", "test"]:
    """The set that a vignette belongs to, for good: by a digest of its digest."""
    drawn = int(hashlib.sha256(f"calibration {vignette}".encode()).hexdigest()[:16], 16) / 2**64
    if drawn < FIT_SHARE:
        return "fit"
    return "choose" if drawn < FIT_SHARE + CHOOSE_SHARE else "test"


def _arrays(part: Sequence[Row]) -> tuple[Array, Array]:
    return np.array([row for _, row in part]), np.array([float(case.right) for case, _ in part])


def _stated(model: Form, part: Sequence[Row]) -> Array:
    return np.array([model.probability(row) for _, row in part])


def _choose(models: Mapping[str, Form], part: Sequence[Row]) -> tuple[str, dict[str, tuple[float, float]]]:
    """The one with the lowest Brier score, and each one's score and calibration error. The error does not
    choose: it is smaller for a form that states few different values, right or not."""
    y = _arrays(part)[1]
    stated = {name: _stated(model, part) for name, model in sorted(models.items())}
    figures = {name: (brier(p, y), calibration_error(p, y)) for name, p in stated.items()}
    return min(figures, key=lambda name: figures[name]), figures


def _test(model: Form, part: Sequence[Row], draws: int, seed: int) -> Report:
    x, y = _arrays(part)
    p, grade, base = _stated(model, part), x[:, 0], np.full(len(y), y.mean())
    vignettes = [case.vignette for case, _ in part]
    error, noise = within_noise(p, y, vignettes, draws=draws, seed=seed)
    against_grade, against_base = (
        brier_difference(p, other, y, vignettes, seed=seed) for other in (grade, base)
    )
    reasons = []
    if error > noise:
        reasons.append("calibration error above its noise")
    if len(y) >= ASKED_FROM and error > MOST_ERROR:
        reasons.append(f"calibration error above {MOST_ERROR}")
    for name, (_, high) in (("raw grade", against_grade), ("base rate", against_base)):
        if high is None or high >= 0:
            reasons.append(f"Brier score not below the {name}'s")
    return Report(
        consultations=len(y),
        vignettes=len(set(vignettes)),
        error=error,
        noise=noise,
        brier=brier(p, y),
        brier_grade=brier(grade, y),
        brier_base=brier(base, y),
        against_grade=against_grade,
        against_base=against_base,
        why_not="; ".join(reasons) or None,
    )


def brier(p: ArrayLike, y: ArrayLike) -> float:
    """Mean squared distance of probabilities p (n,) from outcomes y (n,) in {0, 1}; in [0, 1]."""
    stated, outcomes = _checked(p, y)
    return float(np.mean((stated - outcomes) ** 2))


def brier_difference(
    p: ArrayLike, other: ArrayLike, y: ArrayLike, vignettes: Sequence[str], *, seed: int = 0
) -> tuple[float | None, float | None]:
    """95 % interval of Brier(p) − Brier(other) over the same consultations, vignettes resampled."""
    stated, outcomes = _checked(p, y)
    apart = (stated - outcomes) ** 2 - (_checked(other, y)[0] - outcomes) ** 2
    groups: dict[str, list[float]] = defaultdict(list)
    for vignette, value in zip(vignettes, apart.tolist(), strict=True):
        groups[vignette].append(value)
    found = statistics.mean(groups, seed=seed)
    return found.low, found.high


def calibration_error(p: ArrayLike, y: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error of probabilities p (n,) for outcomes y (n,) in {0, 1}; in [0, 1].

    Bins of exactly equal mass by rising p: equal probabilities that fall in two bins are shared out, so the
    order of the cases has no influence.
    """
    stated, outcomes = _checked(p, y)
    return float(np.abs(_shares(stated, bins) @ (stated - outcomes)).sum())


def within_noise(
    p: ArrayLike,
    y: ArrayLike,
    vignettes: Sequence[str] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    bins: int = 10,
) -> tuple[float, float]:
    """(calibration error, 95th percentile of what outcomes drawn from p itself give).

    `vignettes` (n,) says whose case each is; None: each is its own. Cases of one vignette are drawn as alike
    as they are here: each takes its vignette's uniform number with probability √(`_alike`), else its own.
    """
    stated, outcomes = _checked(p, y)
    shares, source = _shares(stated, bins), np.random.default_rng(seed)
    whose = np.unique(np.arange(len(stated)) if vignettes is None else vignettes, return_inverse=True)[1]
    shared, alike = int(whose.max()) + 1, math.sqrt(_alike(stated, outcomes, whose, shares))
    drawn: list[Array] = []
    for at in range(0, draws, _CHUNK):
        shape = (min(_CHUNK, draws - at), len(stated))
        uniform = source.random(shape)
        if alike:
            of_vignette = source.random((shape[0], shared))[:, whose]
            uniform = np.where(source.random(shape) < alike, of_vignette, uniform)
        drawn.append(np.abs((stated - (uniform < stated)) @ shares.T).sum(axis=1))
    error = float(np.abs(shares @ (stated - outcomes)).sum())
    return error, float(np.quantile(np.concatenate(drawn), 0.95))


def _alike(p: Array, y: Array, whose: NDArray[np.intp], shares: Array) -> float:
    """Correlation of two outcomes of one vignette about the stated p, in [0, 1]: by moments over the pairs
    that share a bin, since their bins' sums are what the error adds up. 0 where there is no such pair."""
    together, possible = (
        math.fsum(float((np.bincount(whose, part) ** 2).sum() - (part**2).sum()) for part in shares * values)
        for values in (y - p, np.sqrt(p * (1 - p)))
    )
    return min(max(together / possible, 0.0), 1.0) if possible > 1e-12 else 0.0


def _shares(p: Array, bins: int) -> Array:
    """(bins, n): how much of each case is in each bin, divided by n. Cases of equal p are treated alike."""
    n = len(p)
    _, group, size = np.unique(p, return_inverse=True, return_counts=True)
    end = np.cumsum(size)
    edges = np.arange(bins + 1)[:, None] * (n / bins)
    overlap = np.minimum(edges[1:], end) - np.maximum(edges[:-1], end - size)
    return np.asarray((np.maximum(overlap, 0) / size / n)[:, group])


def _checked(p: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Raises ValueError: n ≥ 1 probabilities and as many outcomes are asked for."""
    stated, outcomes = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if stated.ndim != 1 or stated.shape != outcomes.shape or not stated.size:
        raise ValueError(f"p and y must be (n,) with n ≥ 1: got {stated.shape} and {outcomes.shape}")
    if not ((stated >= 0) & (stated <= 1)).all() or not np.isin(outcomes, (0.0, 1.0)).all():
        raise ValueError("p must be within [0, 1] and y 0 or 1")
    return stated, outcomes
