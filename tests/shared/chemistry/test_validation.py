"""Validation on histories whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import pytest

from shared.auc import auc_within
from shared.chemistry import heldout
from shared.chemistry.trials import Trial, trials_of
from shared.chemistry.validation import LEAST_EACH, MODELS, PAIRS, Validation, validate
from shared.history import HistoryRow
from shared.statistics import difference

NAMES = "abcdef"


def _row(model: str = "a", **changed: object) -> HistoryRow:
    given = {
        "trial": "t", "model": model, "task": "task", "latency_s": 1.0, "temperature": 0.0, "item": "i",
        "result": "", "quality": 5.0, "generation_accuracy": 1.0, "variance": 0.1, "review_accuracy": 0.9,
        "accuracy": 0.8, "elapsed": "1s", "strategy": "RANDOM", "created": None,
    }  # fmt: skip
    return HistoryRow(**{**given, **changed})  # type: ignore[arg-type]


def _history(
    logit: Callable[[frozenset[str]], float], *, questions: int = 8, each: int = 50, seed: int = 1
) -> list[Trial]:
    """Random trios on questions of unlike difficulty; right with the given logit."""
    rng = np.random.default_rng(seed)
    trials = []
    for question in range(questions):
        hard = rng.normal(scale=0.7)
        for _ in range(each):
            members = frozenset(rng.choice(list(NAMES), size=3, replace=False).tolist())
            right = bool(rng.random() < 1 / (1 + np.exp(-(hard + logit(members)))))
            trials.append(_trial(dict.fromkeys(members, 1), right, f"q{question}"))
    return trials


def _trial(seats: Mapping[str, int], right: bool | None, question: str | None, quality: float = 5.0) -> Trial:
    accuracy = None if right is None else float(right)
    rows = tuple(_row(m, quality=quality, generation_accuracy=accuracy) for m in seats)
    return Trial("task", seats, quality, right, question, rows)


def _gain(found: Validation, step: str) -> float:
    assert found.by_question is not None
    gain = next(s.auc_gain for s in found.by_question.steps if s.name == step)
    assert gain is not None
    assert gain.value is not None
    return gain.value


def test_a_planted_pair_effect_is_kept() -> None:
    """Where a trio is right by its pairs and not by its models, the pair term is kept."""
    good = {("a", "b"), ("c", "d"), ("e", "f")}
    planted = lambda s: 2.5 * any(p in good for p in combinations(sorted(s), 2)) - 1.2  # noqa: E731
    found = validate(_history(planted, questions=12))
    assert found.pairs_kept
    assert found.kept == PAIRS
    assert _gain(found, PAIRS) > 0.1
    assert found.verdict[1].startswith("+ pairs against size + models: better")


@pytest.mark.parametrize("questions", [2, 4, 6, 9])
def test_few_questions_give_no_verdict(questions: int) -> None:
    """However large the gain, below ten questions nothing is better, worse or kept."""
    found = validate(_history(lambda s: 2.5 * ("a" in s) - 1.2, questions=questions))
    assert _gain(found, MODELS) > 0.05
    assert not found.pairs_kept
    assert all("too few questions: 10 are needed" in sentence for sentence in found.verdict)


def test_gains_are_as_wide_as_questions_that_share_their_training_ask_for() -> None:
    """Ten folds: the standard error is √(1 + 10 / 9) of that of independent questions."""
    trials = _history(lambda s: float("a" in s), questions=10)
    y, labels = np.array([float(bool(t.right)) for t in trials]), np.repeat(np.arange(10), 50)
    predicted = heldout.held_out(heldout.Problem(trials, y, labels, binary=True), None)
    size, models = (
        {
            str(q): [auc]
            for q, auc in auc_within(p.tolist(), y.tolist(), labels.tolist(), least=LEAST_EACH).items()
        }
        for p in (predicted[heldout.SIZE], predicted[MODELS])
    )
    found = validate(trials)
    assert found.by_question is not None
    gain = found.by_question.steps[1].auc_gain
    assert gain == difference(models, size, widened=(1 + 10 / 9) ** 0.5) != difference(models, size)


def test_without_pair_effects_none_is_kept() -> None:
    """Where models differ and pairs do not, who sits is better than size and pairs are not kept."""
    found = validate(_history(lambda s: 1.2 * ("a" in s) + 1.2 * ("b" in s) - 1.2))
    assert not found.pairs_kept
    assert found.kept == MODELS
    assert _gain(found, MODELS) > 0.05
    assert "not distinguishable" in found.verdict[1] or "worse" in found.verdict[1]
    assert found.promised is not None
    assert abs(found.promised.difference.value or 1) < 0.3


def test_knowing_the_question_does_not_help() -> None:
    """Questions decide everything and each has a model of its own: by trial that looks like skill."""
    rng = np.random.default_rng(3)
    trials = [
        _trial({NAMES[q]: 1, "z": 1}, bool(rng.random() < 0.15 + 0.7 * (q % 2)), f"q{q}")
        for q in range(6)
        for _ in range(80)
    ]
    found = validate(trials)
    assert found.by_question is not None
    assert found.by_trial is not None
    assert found.by_trial.question_alone is not None
    assert found.by_trial.question_alone > 0.8
    unseen = {step.name: step for step in found.by_question.steps}
    shared = {step.name: step for step in found.by_trial.steps}
    assert unseen[MODELS].auc.value == 0.5  # one set a question: nothing within it
    assert (unseen[MODELS].loss_gain.value or 0) <= 0.01  # type: ignore[union-attr]
    assert (shared[MODELS].loss_gain.value or 0) > 0.1  # type: ignore[union-attr]


def test_held_out_predictions_do_not_see_their_own_outcome() -> None:
    """Turning all outcomes of one question around changes no prediction for it."""
    trials = _history(lambda s: float("a" in s), questions=4, each=30)
    labels = np.repeat(np.arange(4), 30)
    y = np.array([float(bool(t.right)) for t in trials])
    turned = np.where(labels == 2, 1 - y, y)
    before, after = (
        heldout.held_out(heldout.Problem(trials, v, labels, binary=True), None) for v in (y, turned)
    )
    for step in before:
        assert (before[step][labels == 2] == after[step][labels == 2]).all()
        assert (before[step][labels != 2] != after[step][labels != 2]).any()


@pytest.mark.parametrize(
    ("trials", "says"),
    [
        ([], "0 trials"),
        ([_trial({"a": 1}, True, "q")] * 5, "5 trials"),
        ([_trial({"a": 1}, True, "q1"), _trial({"b": 1}, True, "q2")] * 20, "the same"),
    ],
)
def test_too_poor_a_history_is_told(trials: list[Trial], says: str) -> None:
    """Nothing, too few, and outcomes that are all the same: a sentence, no figures."""
    found = validate(trials)
    assert found.by_question is None
    assert found.kept is None
    assert "nothing can be validated" in found.verdict[0]
    assert says in found.verdict[0]


def test_without_truth_quality_is_the_outcome() -> None:
    """A linear model of the consensus' quality sees who raises it."""
    rng = np.random.default_rng(5)
    trials = []
    for k in range(240):
        members = sorted(rng.choice(list(NAMES), size=3, replace=False).tolist())
        quality = 3 + k % 6 * 0.5 + 2 * ("a" in members) + rng.normal(scale=0.5)
        trials.append(_trial(dict.fromkeys(members, 1), None, f"q{k % 6}", quality))
    found = validate(trials)
    assert found.basis == "quality"
    assert _gain(found, MODELS) > 0.2
    assert not found.pairs_kept


def test_questions_that_cannot_be_told_leave_figures_by_trial() -> None:
    """By trial only, and the verdict says that nothing follows for unseen questions."""
    told = _history(lambda s: 2.0 * ("a" in s), questions=2, each=60)
    found = validate([_trial(t.seats, t.right, None) for t in told])
    assert found.by_question is None
    assert found.by_trial is not None
    assert not found.pairs_kept
    assert "cannot be told apart" in found.verdict[0]


def test_one_model_and_one_that_never_sat_in_training_are_no_errors() -> None:
    """A history of one model alone; and a model that sits in a single question."""
    alone = validate([_trial({"a": 1 + k % 2}, k % 3 == 0, f"q{k % 4}") for k in range(160)])
    assert alone.by_question is not None
    assert not alone.pairs_kept
    rare = _history(lambda _: 0.0, questions=4, each=40)
    rare[:40] = [_trial({**t.seats, "new": 1}, t.right, t.question) for t in rare[:40]]
    assert validate(rare).by_question is not None


def test_a_seed_gives_the_same_figures() -> None:
    """Twice the same, to the last bit."""
    trials = _history(lambda s: float("a" in s), questions=3, each=30)
    assert validate(trials, seed=4) == validate(trials, seed=4)


def test_runs_that_share_a_name_are_kept_apart() -> None:
    """By elapsed time, unless it is the seats' own; the first of the highest quality is the consensus."""
    rows = [
        _row("a", elapsed="1s", quality=9.0, generation_accuracy=0.0, result="def f(x): pass"),
        _row("b", elapsed="1s", quality=9.0, result="def f(y): pass"),
        _row("b", elapsed="1s", quality=1.0),
        _row("c", elapsed="2s", quality=None, result="def g(x): pass"),
        *(_row(m, trial="other") for m in "ab"),
    ]
    first, second, _ = trials_of(rows)
    assert (first.seats, first.right, first.quality) == ({"a": 1, "b": 2}, False, 9.0)
    assert (second.seats, second.right, second.quality) == ({"c": 1}, None, None)
    assert first.question is not None
    assert first.question != second.question
    own = [_row(m, trial=str(k), elapsed=f"{m}s") for k in range(3) for m in "ab"]
    assert [len(trial.rows) for trial in trials_of(own)] == [2, 2, 2]
