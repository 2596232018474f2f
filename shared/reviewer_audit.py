"""Audit of the reviewers: who is harsh, noisy, swayed by place, by length or by kinship, with intervals.

A grade is g(u, i) = q_i + b_u + p_u·place + l_u·length_i + k_u·[author of u's family] + e(u, i). The item's
own grade q_i is free (fixed effects), so only differences between reviewers of one item count and no truth is
needed. Least squares; standard errors are clustered by consultation (Liang & Zeger, "Longitudinal Data
Analysis Using Generalized Linear Models", 1986) and made larger by what the fit takes from the residuals,
intervals 95 % with Student's t for the reviewer's number of consultations. What differences cannot tell is
None: the common offset of harshness is set to 0, and length, the same for all reviewers of an answer, is told
against the median reviewer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

LEAST_CONSULTATIONS = 10
"""Below so many of a reviewer, clustered intervals are not to be trusted, and none is given."""
KINDS = ("harshness", "position", "length", "own_family")
"""The regression's effects, one of each for every reviewer."""
_NORMAL = 1.959964
_CHUNK = 20_000  # reviews held as a dense table at once
_SINGULAR = 1e-9  # of the largest eigenvalue: below it a direction is not told by the data


@dataclass(frozen=True)
class AuditedReview:
    """One stored grade in [0, 1] and what the reviewer was shown."""

    consultation: str
    item: str
    reviewer: str
    family: str
    author_family: str
    grade: float
    position: int  # 1, 2, …
    characters: int | None  # of the answer as shown; None in old rows


@dataclass(frozen=True)
class Effect:
    """An estimate with its 95 % interval; the interval is None with too few consultations."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Audited:
    """One reviewer; effects on the grade's scale [0, 1], None where they cannot be told."""

    reviewer: str
    family: str
    reviews: int
    consultations: int
    harshness: Effect | None  # below 0: grades lower than the other reviewers of the same answers
    noise: Effect | None  # standard deviation of its own error
    agreement: Effect | None  # correlation with the mean of the others' grades, over answers
    position: Effect | None  # per place later
    length: Effect | None  # per 100 characters, against the median reviewer
    own_family: Effect | None  # answers of its own family minus those of others


def audit(reviews: Sequence[AuditedReview]) -> list[Audited]:
    """One entry for each reviewer, by name; the order of the reviews has no influence.

    An answer that one reviewer alone graded tells nothing about any.
    """
    rows = sorted(reviews, key=lambda r: (r.consultation, r.item, r.reviewer, r.position, r.grade))
    families = {r.reviewer: r.family for r in rows}
    names = sorted(families)
    counts = Counter(r.reviewer for r in rows)
    data = _Data(rows, names)
    effects, residuals = _regression(data)
    noise, agreement = _noise(data, residuals), _agreement(data)
    return [
        Audited(
            reviewer=name,
            family=families[name],
            reviews=counts[name],
            consultations=int(data.consultations[u]),
            noise=noise.get(u),
            agreement=agreement.get(u),
            **{kind: effects[kind].get(u) for kind in KINDS},
        )
        for u, name in enumerate(names)
    ]


class _Data:
    """Columns (n,) of the reviews whose answer somebody else graded, too, by consultation and answer."""

    def __init__(self, rows: Sequence[AuditedReview], names: Sequence[str]) -> None:
        graded = Counter((r.consultation, r.item) for r in rows)
        kept = [r for r in rows if graded[r.consultation, r.item] > 1]
        place = {name: u for u, name in enumerate(names)}
        self.reviewers, self.size = len(names), len(kept)
        self.reviewer: Index = np.array([place[r.reviewer] for r in kept], dtype=np.intp)
        self.item = _runs([(r.consultation, r.item) for r in kept])
        self.cluster = _runs([r.consultation for r in kept])
        self.grade: Array = np.array([r.grade for r in kept], dtype=np.float64)
        self.place = _centred([float(r.position) for r in kept])
        unknown = math.nan  # old rows: they count as of mean length, and so tell nothing of its effect
        self.length = _centred([unknown if r.characters is None else r.characters / 100 for r in kept])
        self.own: Array = np.array([float(r.family == r.author_family) for r in kept])
        self.graders: Array = np.bincount(self.item).astype(np.float64)[self.item]
        pairs = np.unique(np.column_stack([self.reviewer, self.cluster]), axis=0)
        self.consultations = np.bincount(pairs[:, 0], minlength=len(names))

    def chunks(self) -> Iterator[slice]:
        """Rows in portions, whole consultations each."""
        ends = np.flatnonzero(np.diff(self.cluster, append=-1)) + 1
        start = 0
        while start < self.size:
            reached = int(ends[np.searchsorted(ends, min(start + _CHUNK, self.size))])
            yield slice(start, reached)
            start = reached

    def within(self, table: Array, rows: slice) -> Array:
        """Values (m, k) of these rows, less the mean of their answer."""
        sums = np.add.reduceat(table, _starts(self.item[rows]))
        own = self.item[rows] - self.item[rows.start]
        return np.asarray(table - sums[own] / self.graders[rows, None])


def _runs(keys: Sequence[Hashable]) -> Index:
    """0 for the first run of equal keys, 1 for the next, …"""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)


def _starts(sorted_: Index) -> Index:
    return np.flatnonzero(np.diff(sorted_, prepend=-1))


def _centred(values: Sequence[float]) -> Array:
    """Less the mean of what is known; what is not known counts as the mean."""
    given = np.array(values, dtype=np.float64)
    known = ~np.isnan(given)
    return np.where(known, given - (given[known].mean() if known.any() else 0.0), 0.0)


def _effect(data: _Data, u: int, value: float, variance: float) -> Effect:
    """With its interval; Student's t by its Cornish-Fisher expansion (Abramowitz & Stegun 26.7.5)."""
    freedom = int(data.consultations[u]) - 1
    if freedom + 1 < LEAST_CONSULTATIONS:
        return Effect(value, None, None)
    half = (_NORMAL + (_NORMAL**3 + _NORMAL) / (4 * freedom)) * math.sqrt(max(variance, 0.0))
    return Effect(value, value - half, value + half)


def _design(data: _Data, rows: slice) -> tuple[Array, Array]:
    """Columns (m, 4·reviewers), kind by kind, and grades (m,), both less the mean of their answer."""
    m = rows.stop - rows.start
    x = np.zeros((m, len(KINDS), data.reviewers))
    values = (np.ones(m), data.place[rows], data.length[rows], data.own[rows])
    x[np.arange(m), :, data.reviewer[rows]] = np.stack(values, axis=1)
    grades = data.within(data.grade[rows, None], rows)[:, 0]
    return data.within(x.reshape(m, -1), rows), grades


@dataclass(frozen=True)
class _Fit:
    """Least squares on some columns: estimates (k,), their covariance clustered by consultation (k, k), the
    projector onto what the design can tell (k, k), the residuals (n,), and `shrunk`: what their squares are
    to be multiplied by, since the fit has taken its part."""

    columns: Sequence[int]
    beta: Array
    covariance: Array
    told: Array
    residuals: Array
    shrunk: float


Design = Callable[[slice], tuple[Array, Array]]


def _fit(data: _Data, design: Design, width: int, free: int, keep: Callable[[Array, int], bool]) -> _Fit:
    """Two passes over the design's rows (m, width), of which `free` are independent; `keep` says, given the
    projector, which columns stay."""
    gram, pull = np.zeros((width, width)), np.zeros(width)
    for rows in data.chunks():
        x, y = design(rows)
        gram += x.T @ x
        pull += x.T @ y
    told = _inverse(gram) @ gram
    columns = [c for c in range(width) if keep(told, c)]
    gram, pull = gram[np.ix_(columns, columns)], pull[columns]
    inverse = _inverse(gram)
    beta = inverse @ pull
    meat, clusters, residuals = np.zeros_like(gram), 0, [np.zeros(0)]
    for rows in data.chunks():
        x, y = design(rows)
        residuals.append(y - x[:, columns] @ beta)
        scores = np.add.reduceat(x[:, columns] * residuals[-1][:, None], _starts(data.cluster[rows]))
        meat += scores.T @ scores
        clusters += len(scores)
    told = inverse @ gram
    shrunk = free / max(free - round(float(np.trace(told))), 1)
    covariance = inverse @ meat @ inverse * clusters / max(clusters - 1, 1) * shrunk
    return _Fit(columns, beta, covariance, told, np.concatenate(residuals), shrunk)


def _regression(data: _Data) -> tuple[dict[str, dict[int, Effect]], Array]:
    """Every effect of every reviewer at once: by kind and reviewer, those that can be told; residuals."""
    n, width = data.reviewers, len(KINDS) * data.reviewers
    every = range(width)
    # kinship that cannot be told from harshness goes, and what never varies; harshness is then told without
    fit = _fit(
        data,
        lambda rows: _design(data, rows),
        width,
        data.size - len(np.unique(data.item)),
        lambda told, c: c < n or _is_told(told, _contrast(c, every, n)),
    )
    found: dict[str, dict[int, tuple[float, float]]] = {kind: {} for kind in KINDS}
    for column in fit.columns:
        contrast = _contrast(column, fit.columns, n)
        if _is_told(fit.told, contrast):
            numbers = float(contrast @ fit.beta), float(contrast @ fit.covariance @ contrast)
            found[KINDS[column // n]][column % n] = numbers
    found["length"] = _against_median(found["length"])
    effects = {
        kind: {u: _effect(data, u, *numbers) for u, numbers in by_reviewer.items()}
        for kind, by_reviewer in found.items()
    }
    return effects, fit.residuals * math.sqrt(fit.shrunk)


def _noise(data: _Data, residuals: Array) -> dict[int, Effect]:
    """Standard deviation of each reviewer's own error. Of m reviewers of an answer, u's residual has the
    expected square σ_u²·(1 − 2/m) + Σ_w σ_w² / m²: a regression on who sat beside whom gives each its own."""

    def design(rows: slice) -> tuple[Array, Array]:
        size = rows.stop - rows.start
        share = 1 / data.graders[rows]
        sat = np.zeros((size, data.reviewers))
        sat[np.arange(size), data.reviewer[rows]] = 1.0
        beside = np.add.reduceat(sat, _starts(data.item[rows]))[data.item[rows] - data.item[rows.start]]
        x = sat * (1 - 2 * share)[:, None] + beside * (share**2)[:, None]
        return x, residuals[rows] ** 2

    fit = _fit(data, design, data.reviewers, data.size, lambda _told, _column: True)
    found = {}
    for u in range(data.reviewers):
        if _is_told(fit.told, np.eye(data.reviewers)[u]):
            square = _effect(data, u, float(fit.beta[u]), float(fit.covariance[u, u]))
            value, low, high = (
                None if end is None else math.sqrt(max(end, 0.0))
                for end in (square.value, square.low, square.high)
            )
            found[u] = Effect(value or 0.0, low, high)
    return found


def _agreement(data: _Data) -> dict[int, Effect]:
    """Correlation of each reviewer's grades with the mean of the others' for the same answers; its interval
    by Fisher's z, its variance from the correlation's influence function, summed by consultation."""
    if not data.size:
        return {}
    total = np.bincount(data.item, weights=data.grade)[data.item]
    others = (total - data.grade) / (data.graders - 1)
    found = {}
    for u in range(data.reviewers):
        mine = data.reviewer == u
        if mine.sum() < 2 or not (np.ptp(data.grade[mine]) > 0 and np.ptp(others[mine]) > 0):
            continue
        a, b = (_standardised(values[mine]) for values in (data.grade, others))
        r = float(np.clip(np.mean(a * b), -1 + 1e-9, 1 - 1e-9))
        by_cluster = np.bincount(data.cluster[mine], weights=a * b - r / 2 * (a * a + b * b))
        variance = float(by_cluster @ by_cluster) / len(a) ** 2 / (1 - r * r) ** 2
        z = _effect(data, u, math.atanh(r), variance)
        low, high = (None if end is None else math.tanh(end) for end in (z.low, z.high))
        found[u] = Effect(r, low, high)
    return found


def _standardised(values: Array) -> Array:
    return np.asarray((values - values.mean()) / values.std())


def _contrast(column: int, columns: Sequence[int], n: int) -> Array:
    """One effect among these columns; harshness and length less the mean of all who have one: an answer's
    own grade swallows what is common to them."""
    made = np.array([float(c == column) for c in columns])
    if KINDS[column // n] in ("harshness", "length"):
        alike = np.array([c // n == column // n for c in columns])
        made[alike] -= 1 / alike.sum()
    return made


def _inverse(gram: Array) -> Array:
    return np.asarray(np.linalg.pinv(gram, rcond=_SINGULAR, hermitian=True))


def _is_told(projector: Array, contrast: Array) -> bool:
    """Whether the contrast is estimable: within the row space of the design, and not empty."""
    return bool(np.abs(contrast).max() > 0 and np.abs(projector @ contrast - contrast).max() < 1e-4)


def _against_median(lengths: dict[int, tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """One swayed reviewer moves the mean and so everybody else against it; the median stays. Its own error
    (π/2 of the mean's variance) is added."""
    if not lengths:
        return {}
    centre = float(np.median([value for value, _ in lengths.values()]))
    own = math.pi / 2 * math.fsum(variance for _, variance in lengths.values()) / len(lengths) ** 2
    return {u: (value - centre, variance + own) for u, (value, variance) in lengths.items()}
