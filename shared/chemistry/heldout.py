"""Predictions for trials that a model was not fitted on, in steps: size, who sits, which pairs, chemistry.

Every step is ridge-penalised: logistic for "the consensus was right", linear for the consensus' quality / 10.
Penalties are chosen inside the training part, by folds of the same sort as outside. What was asked is never a
feature; it only says which trials must be held out together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from shared.chemistry.trials import Trial
from shared.logistic import fit

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SIZE, MODELS, PAIRS, REFERENCE = "size", "size + models", "+ pairs", "+ reference chemistry"
STEPS = (SIZE, MODELS, PAIRS, REFERENCE)
OUTER, INNER = 10, 4  # folds
PENALTY_MODELS = (1.0, 10.0, 100.0)
PENALTY_PAIRS = (3.0, 10.0, 30.0, 100.0, 300.0, math.inf)  # infinity: without pairs
PENALTY_OTHER = 1.0

Chemistry = Callable[[Sequence[Trial]], dict[tuple[str, str], float]]
"""Pair chemistry of a task's training trials; keys (a, b) with a < b, absent pairs absent."""


class Problem:
    """Trials as numbers: outcomes y (n,) in [0, 1], and the labels (n,) of what is held out together.

    Trials of the same task, set and size look the same to every step: they are one *pattern*, and features
    are (patterns, columns). Histories repeat few patterns, and a fit costs as many rows as there are.
    """

    def __init__(self, trials: Sequence[Trial], y: Array, labels: Index, *, binary: bool) -> None:
        self.trials, self.y, self.labels, self.binary = trials, y, labels, binary
        keys = [(trial.task, tuple(sorted(trial.seats)), sum(trial.seats.values())) for trial in trials]
        self.patterns = sorted(set(keys))  # (task, models, seats)
        number = {pattern: k for k, pattern in enumerate(self.patterns)}
        self.pattern = np.array([number[key] for key in keys], dtype=np.int64)  # (n,)
        models = sorted({model for _, members, _ in self.patterns for model in members})
        place = {model: k for k, model in enumerate(models)}
        self.sits = np.zeros((len(self.patterns), len(models)))
        for k, (_, members, _) in enumerate(self.patterns):
            self.sits[k, [place[model] for model in members]] = 1.0
        self.size = np.log([[float(seats)] for _, _, seats in self.patterns])
        together = self.sits.T @ self.sits
        pairs = [(a, b) for a, b in combinations(range(len(models)), 2) if together[a, b] > 0]
        first, second = (np.array([pair[k] for pair in pairs], dtype=np.int64) for k in (0, 1))
        self.pairs = self.sits[:, first] * self.sits[:, second]

    def predict(self, train: Index, test: Index, x: Array, penalty: Array) -> Array:
        """Expected outcome (test rows,) of a fit of features x (patterns, columns) on the training rows."""
        many = len(self.patterns)
        counts = np.bincount(self.pattern[train], minlength=many).astype(np.float64)
        seen = counts > 0
        y = np.bincount(self.pattern[train], weights=self.y[train], minlength=many)[seen] / counts[seen]
        rows, weights = x[seen], counts[seen]
        if self.binary:
            return fit(rows, y, penalty, weights=weights).probability(x)[self.pattern[test]]
        centre, level = weights @ rows / weights.sum(), weights @ y / weights.sum()
        rows = rows - centre
        slopes = np.linalg.solve(
            (rows.T * weights) @ rows + np.diag(penalty), rows.T @ (weights * (y - level))
        )
        return np.asarray((level + (x - centre) @ slopes)[self.pattern[test]])

    def loss(self, predicted: Array, rows: Index) -> Array:
        """Log loss in nats of binary outcomes, else squared error; per row."""
        y = self.y[rows]
        if not self.binary:
            return np.asarray((predicted - y) ** 2)
        p = np.clip(predicted, 1e-12, 1 - 1e-12)
        return np.asarray(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def held_out(problem: Problem, chemistry: Chemistry | None, *, seed: int = 0) -> dict[str, Array]:
    """For each step the prediction (n,) of every trial by a fit without its fold.

    Without `chemistry` the last step is left out. At least two different labels are needed (ValueError).
    """
    if len(np.unique(problem.labels)) < 2:
        raise ValueError("nothing can be held out: all trials bear one label")
    found = {step: np.empty(len(problem.y)) for step in STEPS if chemistry or step != REFERENCE}
    for test in folds(problem.labels, OUTER, seed):
        train = np.setdiff1d(np.arange(len(problem.y)), test)
        for step, predicted in _fold(problem, chemistry, train, test, seed).items():
            found[step][test] = predicted
    return found


def folds(labels: Index, most: int, seed: int) -> list[Index]:
    """Test rows of each fold: one label a fold, or, beyond `most` labels, labels dealt at random."""
    names, inverse = np.unique(labels, return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(len(names)) % most
    return [np.flatnonzero(dealt[inverse] == fold) for fold in range(min(most, len(names)))]


def _fold(
    problem: Problem, chemistry: Chemistry | None, train: Index, test: Index, seed: int
) -> dict[str, Array]:
    """All steps' predictions of one fold's test rows."""
    size, models, pairs = problem.size, problem.sits, problem.pairs

    def widths(*parts: tuple[Array, float]) -> tuple[Array, Array]:
        """The columns of the parts that have a finite penalty, and the penalty of each."""
        kept = [(x, penalty) for x, penalty in parts if penalty < math.inf]
        return np.hstack([x for x, _ in kept]), np.concatenate(
            [np.full(x.shape[1], penalty) for x, penalty in kept]
        )

    def best(penalties: Sequence[float], of: Callable[[float], tuple[Array, Array]]) -> float:
        """The penalty of the least loss over folds within the training rows; of equals the largest."""
        labels = problem.labels[train]
        if len(np.unique(labels)) < 2:  # one question to learn from: by trial
            labels = np.arange(len(train))
        inner = [(np.delete(train, out), train[out]) for out in folds(labels, INNER, seed + 1)]
        losses = {
            penalty: sum(
                float(problem.loss(problem.predict(fitted, out, *of(penalty)), out).sum())
                for fitted, out in inner
            )
            for penalty in penalties
        }
        return min(losses, key=lambda penalty: (losses[penalty], -penalty))

    base = (size, PENALTY_OTHER)
    who = best(PENALTY_MODELS, lambda penalty: widths(base, (models, penalty)))
    pair = best(PENALTY_PAIRS, lambda penalty: widths(base, (models, who), (pairs, penalty)))
    designs = {
        SIZE: widths(base),
        MODELS: widths(base, (models, who)),
        PAIRS: widths(base, (models, who), (pairs, pair)),
    }
    if chemistry:
        told = _reference(problem, chemistry, train)
        designs[REFERENCE] = widths(base, (models, who), (told, PENALTY_OTHER))
    return {step: problem.predict(train, test, *design) for step, design in designs.items()}


def _reference(problem: Problem, chemistry: Chemistry, train: Index) -> Array:
    """Mean pair chemistry of each pattern (patterns, 1), from the training rows alone; absent pairs 0."""
    of_task: dict[str, list[Trial]] = {task: [] for task, _, _ in problem.patterns}
    for i in train:
        of_task[problem.trials[i].task].append(problem.trials[i])
    tables = {task: chemistry(trials) for task, trials in of_task.items()}
    return np.array(
        [
            [_mean([tables[task].get(pair, 0.0) for pair in combinations(members, 2)])]
            for task, members, _ in problem.patterns
        ]
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
