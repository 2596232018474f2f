"""The expected value of an ensemble against enumeration."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.chemistry.ensemble_value import Known, difference_se, values

shares = st.floats(0.02, 0.98)


def known(p: np.ndarray, effect: np.ndarray | None = None, basis: str = "outcomes", se: float = 0.1) -> Known:
    """Models of these values, pairs of these effects."""
    n = len(p)
    effects = np.zeros((n, n)) if effect is None else effect
    return Known(basis, np.asarray(p), np.full(n, se), effects, np.full((n, n), se))  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.data())
def test_independent_members(n: int, data: st.DataObject) -> None:
    """Without effects it is the probability that more than half are right, by enumeration."""
    p = data.draw(st.lists(shares, min_size=n, max_size=n))
    exact = sum(
        np.prod([q if right else 1 - q for q, right in zip(p, outcome, strict=True)])
        for outcome in product((False, True), repeat=n)
        if sum(outcome) > n / 2
    )
    found = values(known(np.array(p)), np.arange(n)[None])
    assert found.value[0] == pytest.approx(exact, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8).filter(lambda w: sum(w) > 0.1))
def test_three_members_are_exact_but_for_the_third_moment(weights: list[float]) -> None:
    """Any joint distribution of three: the value + (-2) E[(x1-p1)(x2-p2)(x3-p3)] is P(majority right)."""
    outcomes = np.array(list(product((0, 1), repeat=3)))
    weight = np.array(weights) / sum(weights)
    p = weight @ outcomes
    off = outcomes - p
    covariance = off.T @ (off * weight[:, None])
    third = float(weight @ off.prod(axis=1))
    exact = float(weight[outcomes.sum(axis=1) >= 2].sum())
    found = values(known(p, -covariance), np.array([[0, 1, 2]]))
    assert np.clip(exact + 2 * third, 0, 1) == pytest.approx(found.value[0], abs=1e-9)
    i, j, k = 0, 1, 2
    alone = p[i] * p[j] + p[i] * p[k] + p[j] * p[k] - 2 * p.prod()
    pairs = sum(covariance[a, b] * (1 - 2 * p[3 - a - b]) for a, b in combinations(range(3), 2))
    assert np.clip(alone + pairs, 0, 1) == pytest.approx(found.value[0], abs=1e-12)


@pytest.mark.parametrize(("basis", "n"), [("outcomes", 3), ("outcomes", 4), ("outcomes", 5), ("quality", 3)])
def test_derivatives(basis: str, n: int) -> None:
    """The derivatives, of which standard errors are made, agree with differences."""
    rng = np.random.default_rng(1)
    p, row, step = rng.uniform(0.3, 0.9, n), np.arange(n)[None], 1e-6
    found = values(known(p, basis=basis), row)
    for k in range(n):
        moved = values(known(p + step * (np.arange(n) == k), basis=basis), row).value[0]
        assert (moved - found.value[0]) / step == pytest.approx(found.by_model[0, k], abs=1e-5)
    for k, (i, j) in enumerate(combinations(range(n), 2)):
        effect = np.zeros((n, n))
        effect[i, j] = effect[j, i] = step
        moved = values(known(p, effect, basis), row).value[0]
        assert (moved - found.value[0]) / step == pytest.approx(found.by_pair[0, k], abs=1e-5)


def test_quality() -> None:
    """On quality it is the members' mean and the pairs' mean effect."""
    effect = np.array([[0, 0.1, 0.2], [0.1, 0, -0.6], [0.2, -0.6, 0]])
    found = values(known(np.array([0.5, 0.6, 0.7]), effect, "quality"), np.array([[0, 1, 2], [0, 2, 1]]))
    assert found.value == pytest.approx([0.5, 0.5])
    assert found.alone == pytest.approx([0.6, 0.6])


def test_difference() -> None:
    """A set does not differ from itself; disjoint sets' errors add; a shared member's error cancels."""
    p = known(np.full(6, 0.7))
    found = values(p, np.array([[0, 1, 2], [0, 1, 3], [3, 4, 5]]))
    se = difference_se(p, found, 0)
    assert se[0] == pytest.approx(0, abs=1e-8)
    assert se[2] == pytest.approx(found.se[0] * 2**0.5)
    assert 0 < se[1] < se[2]
