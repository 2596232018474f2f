"""What history says of models and pairs: shrunk means, empirical pair effects (algorithms, sections 2, 3).

A model's value in a kind of task leans on what the other kinds of the same parent say of it, and that on
the pool of models; so do pairs, which lean on their pair of families, and that on whether it is one family.
How much each leans is estimated from the spread that sampling does not explain (`shared.chemistry.pooling`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shared.chemistry.aggregates import Aggregates, EnsembleSums, ModelSums, PairSums, parent
from shared.chemistry.default import strongest_default
from shared.chemistry.pooling import Floats, spread, toward
from shared.chemistry.quality_effects import quality_effects
from shared.chemistry.snapshot import Basis, Chemistry, Learned, ModelLearned, PairLearned
from shared.chemistry.wrong_together import OFTEN, Effects, wrong_together

ENOUGH_OUTCOMES = 20
"""Answers with a known outcome, of a kind or else its parent, before models are ranked by P(right)."""

LEAST_SPREAD = 5e-4
"""Variance between models, as a share of that of one answer: a model's own mean always says a little."""

FAILURE_PRIOR = 20.0
"""Seats that a model's failure rate leans on the pool's with."""


@dataclass(frozen=True)
class _Means:
    """A mean of each model and its variance on the scale of the numbers averaged."""

    of: dict[str, tuple[float, float]]
    pool: float


def learn(aggregates: Aggregates) -> Chemistry:
    """All that choosing reads, for each kind of task and each parent; the same input gives the same output.

    A kind has every model that its parent knows. Basis `outcomes` where the kind or else its parent has at
    least 20 answers with a known outcome, else `quality`.
    """
    kinds = sorted({m.kind for m in aggregates.models})
    by_parent: dict[str, list[str]] = defaultdict(list)
    for kind in kinds:
        by_parent[parent(kind)].append(kind)
    models, pairs, ensembles = defaultdict(list), defaultdict(list), defaultdict(list)
    for m in aggregates.models:
        models[m.kind].append(m)
    for p in aggregates.pairs:
        pairs[p.kind].append(p)
    for e in aggregates.ensembles:
        ensembles[e.kind].append(e)
    learned_kinds: dict[str, Learned] = {}
    parents: dict[str, Learned] = {}
    for name, below in sorted(by_parent.items()):
        of = _Parent(
            {k: models[k] for k in below}, {k: pairs[k] for k in below}, {k: ensembles[k] for k in below}
        )
        parents[name] = of.learned(None)
        for kind in below:
            learned_kinds[kind] = of.learned(kind) if len(below) > 1 else parents[name]
    return Chemistry(learned_kinds, parents)


class _Parent:
    """The history of the kinds of one parent."""

    def __init__(
        self,
        models: Mapping[str, Sequence[ModelSums]],
        pairs: Mapping[str, Sequence[PairSums]],
        ensembles: Mapping[str, Sequence[EnsembleSums]],
    ) -> None:
        self.models, self.pairs, self.ensembles = models, pairs, ensembles
        self.family = {m.model: m.family for rows in models.values() for m in rows}
        outcomes = sum(m.outcomes for rows in models.values() for m in rows)
        self.basis: Basis = "outcomes" if outcomes >= ENOUGH_OUTCOMES else "quality"
        self.values = {kind: self._kind_means(kind, self.basis) for kind in models}
        self.quality = {kind: self._kind_means(kind, "quality") for kind in models}
        self.accuracy = {kind: self._kind_means(kind, "accuracy") for kind in models}

    def learned(self, kind: str | None) -> Learned:
        """One kind leaning on the others; None: all together."""
        rows = self._rows(kind)
        if kind is None:
            values, quality, accuracy = (self._means(self._rows(None), w) for w in (self.basis, *_OTHERS))
        else:
            values, quality, accuracy = self.values[kind], self.quality[kind], self.accuracy[kind]
        models = {name: self._model(name, rows, values, quality, accuracy) for name in sorted(self.family)}
        effects = self._effects(kind)
        strongest = strongest_default(models)
        together: dict[tuple[str, str], float] = defaultdict(float)
        for e in self._ensembles(kind):
            for pair in _pairs_of(e.members):
                together[pair] += max(e.consultations, e.outcomes)
        judged: dict[tuple[str, str], float] = defaultdict(float)
        for p in self._pairs(kind):
            judged[p.a, p.b] += p.together
        for pair, n in judged.items():  # imported rows may have outcomes of answers and none of a consensus
            together[pair] = max(together[pair], n)
        learned_pairs = {}
        for pair in sorted({*together, *effects.pairs, *strongest}):
            found = strongest.get(pair)
            effect, se = effects.of(pair, self.family)
            learned_pairs[pair] = PairLearned(
                together.get(pair, 0.0),
                found.value if found else None,
                found.sign if found else 0,
                found.context if found else (),
                effect,
                se,
            )
        consultations = sum(max(e.consultations, e.outcomes) for e in self._ensembles(kind))
        return Learned(self.basis, consultations, models, learned_pairs, effects.strength, effects.families)

    def _rows(self, kind: str | None) -> list[ModelSums]:
        return [m for k, rows in self.models.items() if kind in (None, k) for m in rows]

    def _pairs(self, kind: str | None) -> list[PairSums]:
        return [p for k, rows in self.pairs.items() if kind in (None, k) for p in rows]

    def _ensembles(self, kind: str | None) -> list[EnsembleSums]:
        return [e for k, rows in self.ensembles.items() if kind in (None, k) for e in rows]

    def _kind_means(self, kind: str, what: str) -> _Means:
        """The kind's own means; where other kinds know a model, toward its place among the models there."""
        rest = [m for k, rows in self.models.items() if k != kind for m in rows]
        return self._means(self.models[kind], what, self._means(rest, what) if rest else None)

    def _means(self, rows: Iterable[ModelSums], what: str, lean: _Means | None = None) -> _Means:
        """Shrunk mean of every model of the parent, toward the pool, or toward its place in `lean`."""
        names = sorted(self.family)
        sums = {name: np.zeros(3) for name in names}
        for m in rows:
            sums[m.model] += _sums(m, what)
        n, total, squares = np.array([sums[name] for name in names]).T
        if n.sum() <= 0:
            return lean or _Means({}, 0.5)
        pool = float(total.sum() / n.sum())
        x = np.divide(total, n, out=np.full(len(n), pool), where=n > 0)
        within = _within(n, x, squares, pool, what)
        s2 = np.divide(within, n, out=np.full(len(n), np.inf), where=n > 0)
        prior, doubt = np.full(len(n), pool), np.zeros(len(n))
        if lean is not None and lean.of:
            prior = np.array([pool + lean.of[name][0] - lean.pool for name in names])
            doubt = np.array([lean.of[name][1] for name in names])
        seen = n > 0
        # never nothing: equal means would leave the ranking to the models' names
        between = max(spread(x[seen], s2[seen] + doubt[seen], prior[seen]), LEAST_SPREAD * within)
        mean, variance = toward(x, s2, prior, doubt + between)
        return _Means({k: (float(m), float(v)) for k, m, v in zip(names, mean, variance, strict=True)}, pool)

    def _model(
        self, name: str, rows: list[ModelSums], values: _Means, quality: _Means, accuracy: _Means
    ) -> ModelLearned:
        own = [m for m in rows if m.model == name]
        everywhere = [m for m in self._rows(None) if m.model == name]
        value, variance = values.of.get(name, (0.5, 0.25))
        scale = 1.0 if self.basis == "outcomes" else 10.0
        timed = own if any(m.latency_runs for m in own) else everywhere
        calls, seconds = sum(m.latency_runs for m in timed), sum(m.latency_s for m in timed)
        seats, failures = sum(m.seats for m in everywhere), sum(m.failures for m in everywhere)
        pool_seats = sum(m.seats for m in self._rows(None))
        pool_rate = sum(m.failures for m in self._rows(None)) / pool_seats if pool_seats else 0.0
        return ModelLearned(
            family=self.family[name],
            runs=sum(m.runs for m in own),
            outcomes=sum(m.outcomes for m in own),
            value=min(max(value / scale, 0.0), 1.0),
            value_se=variance**0.5 / scale,
            quality=_clipped(quality.of.get(name), 10.0),
            accuracy=_clipped(accuracy.of.get(name), 1.0),
            latency_s=seconds / calls if calls else None,
            failure_rate=(failures + FAILURE_PRIOR * pool_rate) / (seats + FAILURE_PRIOR),
        )

    def _effects(self, kind: str | None) -> Effects:
        """The pair effects of a kind leaning on those of the other kinds; None: of all."""
        kinds = list(self.models)
        if kind is None or self.basis == "quality" or not self._sat_often(kind):
            return self._pooled_effects(kinds)  # nothing to tell kinds apart by: the parent's holds
        rest = self._pooled_effects([k for k in kinds if k != kind])
        return wrong_together([(self.pairs[kind], self._right(kind))], self.family, lean=rest)

    def _sat_often(self, kind: str) -> bool:
        together: dict[tuple[str, str], float] = defaultdict(float)
        for p in self.pairs[kind]:
            together[p.a, p.b] += p.together
        return max(together.values(), default=0.0) >= OFTEN

    def _pooled_effects(self, kinds: Sequence[str]) -> Effects:
        if self.basis == "outcomes":
            return wrong_together([(self.pairs[k], self._right(k)) for k in kinds], self.family)
        of = [(self.ensembles[k], {n: v / 10 for n, (v, _) in self.quality[k].of.items()}) for k in kinds]
        return quality_effects(of, self.family)

    def _right(self, kind: str) -> dict[str, float]:
        return {name: value for name, (value, _) in self.values[kind].of.items()}


_OTHERS = ("quality", "accuracy")


def _sums(m: ModelSums, what: str) -> Floats:
    """Count, sum, sum of squares."""
    if what == "outcomes":
        return np.array([m.outcomes, m.right, m.right])
    if what == "quality":
        return np.array([m.quality_runs, m.quality, m.quality_squares])
    return np.array([m.accuracy_runs, m.accuracy, 0.0])


def _within(n: Floats, x: Floats, squares: Floats, pool: float, what: str) -> float:
    """Variance of one answer around its model's mean, pooled over the models."""
    if what == "quality":
        freedom = max(float(n.sum()) - len(n), 1.0)
        return max(float((squares - n * x**2).sum()) / freedom, 1e-4)
    # a share: Laplace's rule keeps an all-right history from being taken as certain; for the mixture,
    # whose squares are not kept, this is an upper bound
    share = (pool * n.sum() + 1) / (n.sum() + 2)
    return float(share * (1 - share))


def _clipped(found: tuple[float, float] | None, top: float) -> float | None:
    return None if found is None else min(max(found[0], 0.0), top)


def _pairs_of(members: Sequence[str]) -> list[tuple[str, str]]:
    names = sorted(members)
    return [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
