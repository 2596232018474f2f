"""Does it help to know who sits, and which pairs? Measured on whole questions that no fit has seen.

A history asks few questions many times, and how hard a question is says more about the outcome than anybody
who sits (algorithms, section 3). So whole questions are held out, the AUC is taken within question, intervals
resample questions, and the pair term is kept only where its interval against "size + models" is above 0.

Each question's figure comes from a fit on all the others, so they depend on each other: what noise gains in
one it tends to gain in all. Intervals of gains are wider for that (`_dependence`), and below
`LEAST_QUESTIONS` no verdict is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared import statistics
from shared.auc import auc, auc_within
from shared.chemistry import heldout
from shared.chemistry.heldout import MODELS, PAIRS, REFERENCE, SIZE, Array, Index, Problem
from shared.chemistry.reference import best_rows, table
from shared.chemistry.trials import Trial
from shared.statistics import Difference, Estimate

LEAST_TRIALS = 20
"""Fewer trials with an outcome say nothing."""
LEAST_EACH = 10
"""Trials of each outcome that a question needs for an AUC within it."""
LEAST_QUESTIONS = 10
"""Questions that a verdict needs; of histories of noise alone fewer give one far more often than in 5 %."""
TOP_SHARE = 0.1
"""Share of a question's trials that "top-scored" means."""
UNSEEN, SHARED = "questions held out", "questions shared with training"
AGAINST = {MODELS: SIZE, PAIRS: MODELS, REFERENCE: MODELS}


@dataclass(frozen=True)
class Step:
    """One model's figures, and its gains over the one it is compared with: above 0 is better.

    `auc` is the mean over the questions that have one, `loss` the mean over all questions of their mean (log
    loss in nats; squared error where the outcome is quality)."""

    name: str
    auc: Estimate
    loss: Estimate
    against: str | None
    auc_gain: Difference | None
    loss_gain: Difference | None


@dataclass(frozen=True)
class Comparison:
    """All steps under one way to hold out. `questions`: those with an AUC within them."""

    held_out: str
    steps: tuple[Step, ...]
    questions: int
    question_alone: float | None  # AUC over all trials of a prediction that knows nothing but the question


@dataclass(frozen=True)
class Promised:
    """What the kept model promised for the sets that it scores highest in each held-out question, minus what
    they achieved; means over questions."""

    model: str
    trials: int
    promised: float
    realised: float
    difference: Estimate


@dataclass(frozen=True)
class Validation:
    """What a history can say. `basis`: what an outcome is; None: nothing can be validated, see `verdict`."""

    trials: int
    used: int  # with an outcome, and a question where questions are held out
    models: int
    tasks: int
    questions: int
    untold: int  # trials whose question cannot be told
    basis: str | None
    mean_outcome: float | None
    by_question: Comparison | None
    by_trial: Comparison | None
    promised: Promised | None
    kept: str | None
    pairs_kept: bool
    verdict: tuple[str, ...]


def validate(trials: Sequence[Trial], *, seed: int = 0) -> Validation:
    """Compare the steps on a history's trials. Deterministic for a seed; a history that is too poor gets a
    verdict that says so, never an error."""
    basis, used = _outcomes(trials)
    told = [trial for trial in used if trial.question is not None]
    questions = len({(trial.task, trial.question) for trial in told})
    by_question_too = questions >= 2 and 2 * len(told) > len(used) and len(told) >= LEAST_TRIALS
    cases = told if by_question_too else used
    y = np.array([_outcome(trial, basis) for trial in cases])

    def made(
        by_question: Comparison | None,
        by_trial: Comparison | None,
        promised: Promised | None,
        kept: str | None,
        verdict: Sequence[str],
    ) -> Validation:
        return Validation(
            trials=len(trials),
            used=len(cases),
            models=len({model for trial in trials for model in trial.seats}),
            tasks=len({trial.task for trial in trials}),
            questions=questions,
            untold=sum(trial.question is None for trial in trials),
            basis=basis,
            mean_outcome=float(y.mean()) if len(y) else None,
            by_question=by_question,
            by_trial=by_trial,
            promised=promised,
            kept=kept,
            pairs_kept=kept == PAIRS,
            verdict=tuple(verdict),
        )

    if basis is None:
        return made(
            None, None, None, None,
            [f"nothing can be validated: {len(used)} trials have a graded answer, {LEAST_TRIALS} are needed"],
        )  # fmt: skip
    if float(y.min()) == float(y.max()):
        return made(
            None, None, None, None,
            ["nothing can be validated: all outcomes are the same, so nothing tells one set from another"],
        )  # fmt: skip
    names = [(trial.task, trial.question or str(k)) for k, trial in enumerate(cases)]
    place = {name: k for k, name in enumerate(sorted(set(names)))}
    labels = np.array([place[name] for name in names], dtype=np.int64)
    binary = basis == "outcomes"
    alone = np.arange(len(cases), dtype=np.int64)
    groups = labels if by_question_too else np.zeros(len(cases), dtype=np.int64)
    shared = Problem(cases, y, alone, binary=binary)
    by_trial = _compare(shared, heldout.held_out(shared, _chemistry, seed=seed), groups, SHARED, seed)
    if not by_question_too:
        return made(None, by_trial, None, MODELS, _untold(questions))
    problem = Problem(cases, y, labels, binary=binary)
    predicted = heldout.held_out(problem, _chemistry, seed=seed)
    by_question = _compare(problem, predicted, labels, UNSEEN, seed)
    kept = PAIRS if _finding(_gain(by_question, PAIRS)) == "better" else MODELS
    return made(
        by_question,
        by_trial,
        _promised(problem, predicted[kept], kept, seed),
        kept,
        [_words(by_question, step, keeps=step == PAIRS) for step in (MODELS, PAIRS, REFERENCE)],
    )


def _outcomes(trials: Sequence[Trial]) -> tuple[str | None, list[Trial]]:
    """What counts as the outcome, and the trials that have it: truth if enough have one, else quality."""
    right = [trial for trial in trials if trial.right is not None]
    if len(right) >= LEAST_TRIALS:
        return "outcomes", right
    graded = [trial for trial in trials if trial.quality is not None]
    return ("quality" if len(graded) >= LEAST_TRIALS else None), graded


def _outcome(trial: Trial, basis: str | None) -> float:
    return float(bool(trial.right)) if basis == "outcomes" else (trial.quality or 0.0) / 10


def _chemistry(trials: Sequence[Trial]) -> dict[tuple[str, str], float]:
    """The reference form's table of one task's trials."""
    best = best_rows(row for trial in trials for row in trial.rows)
    return {
        pair: value
        for of_task in best.values()
        for pair, value in table([m for m, _ in of_task.values()]).items()
    }


def _compare(
    problem: Problem, predicted: dict[str, Array], groups: Index, held_out: str, seed: int
) -> Comparison:
    """Figures of all steps. `groups` (n,): the questions; one group only: they cannot be told."""
    rows = np.arange(len(problem.y))
    resampled = groups if len(np.unique(groups)) > 1 else rows  # without questions losses resample trials
    aucs = {
        step: {
            str(group): [figure]
            for group, figure in auc_within(
                p.tolist(), problem.y.tolist(), groups.tolist(), least=LEAST_EACH
            ).items()
        }
        for step, p in predicted.items()
    }
    losses = {step: _means(problem.loss(p, rows), resampled) for step, p in predicted.items()}
    widened = _dependence(min(heldout.OUTER, len(np.unique(problem.labels))))
    steps = []
    for step in predicted:
        base = AGAINST.get(step)
        steps.append(
            Step(
                step,
                statistics.mean(aucs[step], seed=seed),
                statistics.mean(losses[step], seed=seed),
                base,
                statistics.difference(aucs[step], aucs[base], widened=widened, seed=seed) if base else None,
                statistics.difference(losses[base], losses[step], widened=widened, seed=seed)
                if base
                else None,
            )
        )
    return Comparison(
        held_out, tuple(steps), len(aucs[SIZE]), _question_alone(problem, groups, held_out, seed)
    )


def _dependence(folds: int) -> float:
    """The standard error of a mean over folds, over that of independent ones: √(1 + folds · tested / fitted)
    (Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003)."""
    return math.sqrt(1 + folds / (folds - 1))


def _means(values: Array, groups: Index) -> dict[str, list[float]]:
    names, inverse = np.unique(groups, return_inverse=True)
    sums = np.bincount(inverse, weights=values) / np.bincount(inverse)
    return {str(name): [float(value)] for name, value in zip(names, sums, strict=True)}


def _question_alone(problem: Problem, groups: Index, held_out: str, seed: int) -> float | None:
    """AUC over all trials of each question's mean outcome in training: what shared questions give away."""
    if held_out != SHARED or len(np.unique(groups)) < 2:
        return None
    score = np.empty(len(problem.y))
    for test in heldout.folds(problem.labels, heldout.OUTER, seed):
        train = np.setdiff1d(np.arange(len(problem.y)), test)
        level = problem.y[train].mean()
        sums = np.bincount(groups[train], weights=problem.y[train], minlength=groups.max() + 1)
        counts = np.bincount(groups[train], minlength=groups.max() + 1)
        score[test] = ((sums + level) / (counts + 1))[groups[test]]
    return auc(score.tolist(), problem.y.tolist())


def _promised(problem: Problem, predicted: Array, model: str, seed: int) -> Promised:
    promised, realised, count = {}, {}, 0
    for label in np.unique(problem.labels):
        mine = np.flatnonzero(problem.labels == label)
        top = mine[np.argsort(-predicted[mine], kind="stable")[: max(1, round(TOP_SHARE * len(mine)))]]
        promised[str(label)] = [float(predicted[top].mean())]
        realised[str(label)] = [float(problem.y[top].mean())]
        count += len(top)
    apart = {key: [promised[key][0] - realised[key][0]] for key in promised}
    return Promised(
        model,
        count,
        float(np.mean(list(promised.values()))),
        float(np.mean(list(realised.values()))),
        statistics.mean(apart, seed=seed),
    )


def _gain(comparison: Comparison, step: str) -> Difference | None:
    """What a step is judged by: its gain in AUC within question, or in loss where no question has an AUC."""
    for found in comparison.steps:
        if found.name == step:
            return found.auc_gain if comparison.questions else found.loss_gain
    return None


def _words(comparison: Comparison, step: str, *, keeps: bool) -> str:
    gain, base = _gain(comparison, step), AGAINST[step]
    measure = "AUC within question" if comparison.questions else "loss (no question has an AUC within it)"
    word, n = _finding(gain), gain.n if gain else 0
    decision = f"; the pair term is {'kept' if word == 'better' else 'not kept'}" if keeps else ""
    if gain is None or gain.value is None or gain.low is None or gain.high is None:
        return f"{step} against {base}: {word} ({n} questions){decision}"
    figures = f"gain in {measure} {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], {n} questions"
    return f"{step} against {base}: {word} ({figures}){decision}"


def _finding(gain: Difference | None) -> str:
    """What a gain says: better or worse only from `LEAST_QUESTIONS` on, and where it can be told from 0."""
    if gain is None or gain.value is None or gain.n < LEAST_QUESTIONS:
        return f"not distinguishable, too few questions: {LEAST_QUESTIONS} are needed"
    if not gain.distinguishable:
        return "not distinguishable"
    return "better" if gain.value > 0 else "worse"


def _untold(questions: int) -> list[str]:
    return [
        f"questions cannot be told apart ({questions} told): nothing can be said of unseen ones",
        "the figures are by trial, so any gain may come from the questions; the pair term is not kept",
    ]
