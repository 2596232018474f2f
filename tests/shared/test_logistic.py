"""Ridge-penalised logistic regression and the AUC, against definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.auc import auc, auc_within
from shared.logistic import fit, sigmoid


def _world(seed: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, outcomes of both sorts, penalties over five decades, weights with zeros."""
    rng = np.random.default_rng(seed)
    x = rng.normal(scale=rng.choice([0.1, 1.0, 20.0]), size=(rows, columns))
    y = rng.integers(0, 2, rows).astype(float)
    y[:2] = 0.0, 1.0
    weights = rng.integers(0, 4, rows).astype(float)
    weights[:2] = 1.0
    return x, y, 10.0 ** rng.uniform(-3, 2, columns), weights


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.integers(0, 5))
def test_the_gradient_is_zero_at_the_maximum(seed: int, rows: int, columns: int) -> None:
    """Whatever the data, the score equations of the penalised likelihood hold."""
    x, y, penalty, weights = _world(seed, rows, columns)
    found = fit(x, y, penalty, weights=weights)
    residual = weights * (y - found.probability(x))
    scale = max(1.0, float(np.abs(x).sum()) if columns else 1.0)
    assert abs(residual.sum()) <= 1e-6 * scale
    assert np.abs(x.T @ residual - penalty * found.coefficients).max(initial=0.0) <= 1e-6 * scale


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_errors_are_the_inverse_of_the_curvature(seed: int) -> None:
    """Second differences of the objective, inverted, give the standard errors."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(40, 2)), rng.integers(0, 2, 40).astype(float)
    y[:2] = 0.0, 1.0
    penalty = np.array([0.5, 3.0])
    found = fit(x, y, penalty)

    def objective(beta: np.ndarray) -> float:
        eta = beta[0] + x @ beta[1:]
        return float((y * eta - np.logaddexp(0, eta)).sum() - 0.5 * penalty @ beta[1:] ** 2)

    at, h, unit = np.concatenate([[found.intercept], found.coefficients]), 1e-3, np.eye(3)
    assert found.objective == pytest.approx(objective(at))
    curvature = np.array(
        [
            [
                sum(s * t * objective(at + h * (s * unit[i] + t * unit[j])) for s in (1, -1) for t in (1, -1))
                / (-4 * h * h)
                for j in range(3)
            ]
            for i in range(3)
        ]
    )
    errors = np.sqrt(np.diag(np.linalg.inv(curvature)))
    assert [found.intercept_se, *found.standard_errors] == pytest.approx(errors, rel=1e-3)


def test_without_columns_the_intercept_is_the_logit_of_the_share() -> None:
    """The closed form: log(p / (1 − p)), error 1 / √(n·p·(1 − p))."""
    found = fit(np.empty((10, 0)), [1.0] * 3 + [0.0] * 7, 1.0)
    assert found.intercept == pytest.approx(np.log(3 / 7), abs=1e-9)
    assert found.intercept_se == pytest.approx(1 / np.sqrt(2.1), rel=1e-6)


def test_weights_count_rows_and_shares_are_outcomes() -> None:
    """A row with weight 4 and outcome 0.75 says what three right rows and a wrong one say."""
    told = fit([[0.0], [1.0]], [0.5, 0.75], 0.3, weights=[2.0, 4.0])
    rows = fit([[0.0]] * 2 + [[1.0]] * 4, [0.0, 1.0, 1.0, 1.0, 1.0, 0.0], 0.3)
    assert (told.intercept, *told.coefficients) == pytest.approx((rows.intercept, *rows.coefficients))


def test_separable_and_constant_outcomes_stay_finite() -> None:
    """Perfect separation on large features converges; outcomes that are all the same get slopes 0."""
    x = np.concatenate([np.linspace(-1e3, -1, 20), np.linspace(1, 1e3, 20)])[:, None]
    found = fit(x, [0.0] * 20 + [1.0] * 20, 1e-3)
    assert 0 < found.coefficients[0] < 100
    assert abs((np.repeat([0.0, 1.0], 20) - found.probability(x)).sum()) < 1e-6
    constant = fit([[1.0], [2.0]], [1.0, 1.0], 1.0)
    assert constant.coefficients.tolist() == [0.0]
    assert sigmoid(np.array(constant.intercept)) == pytest.approx(2.5 / 3)


@pytest.mark.parametrize(
    ("x", "y", "penalty"),
    [([[1.0]], [1.0, 0.0], 1.0), ([[1.0]], [1.0], 0.0), ([[1.0]], [2.0], 1.0), ([[np.nan]], [1.0], 1.0)],
)
def test_what_cannot_be_fitted_is_refused(x: list, y: list, penalty: float) -> None:
    """Shapes that differ, no penalty, outcomes out of range, values that are no numbers."""
    with pytest.raises(ValueError):
        fit(x, y, penalty)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2)), max_size=25))
def test_auc_is_the_share_of_pairs_in_order(cases: list[tuple[int, int]]) -> None:
    """Against all pairs, ties of scores and of outcomes among them."""
    pairs = [(a, b) for a, y in cases for b, z in cases if y > z]
    won = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs)
    found = auc([s for s, _ in cases], [y for _, y in cases])
    assert found == (pytest.approx(won / len(pairs)) if pairs else None)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 2)), max_size=40))
def test_auc_within_leaves_out_groups_of_few(cases: list[tuple[int, int, int]]) -> None:
    """Each group's own AUC, only where it has three of each outcome."""
    expected = {}
    for group in {g for _, _, g in cases}:
        mine = [(s, y) for s, y, g in cases if g == group]
        if min(sum(y for _, y in mine), sum(1 - y for _, y in mine)) >= 3:
            expected[group] = auc([s for s, _ in mine], [y for _, y in mine])
    scores, outcomes, groups = ([case[k] for case in cases] for k in range(3))
    assert auc_within(scores, outcomes, groups, least=3) == expected
