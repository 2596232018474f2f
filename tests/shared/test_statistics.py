"""Bootstrap by vignette: intervals that hold what they should, p-values that agree with them, Holm."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.statistics import (
    LEAST_UNITS,
    Difference,
    difference,
    holm,
    mean,
    ratio,
    smallest_difference,
    spread,
)

GROUPS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    min_size=LEAST_UNITS,
    max_size=12,
)
Groups = dict[str, list[float]]


@settings(max_examples=50, deadline=None)
@given(GROUPS)
def test_interval_holds_the_mean_and_stays_in_range(groups: Groups) -> None:
    """The mean of all values lies in its interval, and the interval in the values' range."""
    values = [v for one in groups.values() for v in one]
    found = mean(groups)
    assert found.value == pytest.approx(sum(values) / len(values))
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert min(values) - 1e-12 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= max(values) + 1e-12
    assert found.n == len(groups)


@settings(max_examples=50, deadline=None)
@given(GROUPS, st.randoms(use_true_random=False))
@example({"a": [0.9851197633676712], "aa": [0.0, 1.0], "b": [1.0, 0.16268166736456127]}, random.Random(1))
@example({k: [0.9851197633676712, 0.0, 1.0, 0.16268166736456127] for k in "abcdef"}, random.Random(1))
def test_order_of_repeats_and_of_vignettes_has_no_influence(groups: Groups, rng: random.Random) -> None:
    """Same vignettes, same repeats in another order: the same figures."""
    keys = list(groups)
    rng.shuffle(keys)
    other = {key: rng.sample(groups[key], len(groups[key])) for key in keys}
    for statistic in (mean, spread):
        a, b = statistic(groups, draws=200), statistic(other, draws=200)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-9)


def test_vignettes_are_resampled_not_consultations() -> None:
    """Ten repeats of the same answer tell nothing more than one."""
    once = {str(k): [float(k % 2)] for k in range(20)}
    often = {key: values * 10 for key, values in once.items()}
    assert mean(often) == mean(once)


@settings(max_examples=50, deadline=None)
@given(GROUPS, st.integers(2, LEAST_UNITS - 1))
def test_too_few_vignettes_have_no_interval(groups: Groups, few: int) -> None:
    """Their values stand alone: no interval, no p, no smallest difference, and nothing is told apart."""
    some = dict(list(groups.items())[:few])
    pairs = {key: [(v, 1.0) for v in values] for key, values in some.items()}
    for found in (mean(some), spread(some), ratio(pairs)):
        assert found.value is not None
        assert (found.low, found.high, found.n) == (None, None, few)
    apart = difference({key: [1.0] for key in some}, {key: [0.0] for key in some})
    assert (apart.value, apart.low, apart.p, apart.smallest, apart.distinguishable) == (
        1.0,
        None,
        None,
        None,
        False,
    )


@pytest.mark.parametrize("n", range(LEAST_UNITS, 13))
def test_intervals_of_few_vignettes_hold_about_what_they_say(n: int) -> None:
    """Normal figures: at least 90 % of 600 intervals hold the truth (92.8 % are expected at six)."""
    rng = np.random.default_rng(n)
    held = 0
    for _ in range(600):
        found = mean({str(k): [float(x)] for k, x in enumerate(rng.normal(size=n))}, draws=1_000)
        held += found.low is not None and found.high is not None and found.low <= 0 <= found.high
    assert held >= 540


@pytest.mark.parametrize("n", range(2, 13))
def test_one_sign_in_all_is_told_from_six_on(n: int) -> None:
    """The interval is 1 alone; p and the word agree, at any number of vignettes."""
    keys = [str(k) for k in range(n)]
    found = difference({key: [1.0] for key in keys}, {key: [0.0] for key in keys})
    assert found.distinguishable == (found.p is not None and found.p < 0.05) == (n >= LEAST_UNITS)


def test_nothing_is_told_apart_by_the_interval_alone() -> None:
    """An interval beside 0 whose p is 0.05 or more names no winner."""
    assert not Difference(0.5, 0.1, 0.9, 0.06, 8, 0.4).distinguishable
    assert Difference(0.5, 0.1, 0.9, 0.04, 8, 0.4).distinguishable


def test_one_vignette_has_no_interval_and_none_has_no_value() -> None:
    """Unknown is None, never 0."""
    assert mean({"a": [1.0, 0.0]}).low is None
    assert mean({"a": [1.0, 0.0]}).value == 0.5
    assert mean({}).value is None
    assert mean({"a": []}).n == 0
    assert ratio({"a": [(0.0, 0.0)], "b": [(0.0, 0.0)]}).value is None
    one = difference({"a": [1.0]}, {"a": [0.0]})
    assert (one.value, one.p, one.low, one.smallest, one.distinguishable) == (1.0, None, None, None, False)


@settings(max_examples=50, deadline=None)
@given(GROUPS, st.floats(-0.5, 0.5))
def test_difference_is_paired_and_antisymmetric(groups: Groups, shift: float) -> None:
    """A constant shift is found exactly, without any spread; the other way round has the other sign."""
    moved = {key: [v + shift for v in values] for key, values in groups.items()}
    found, back = difference(moved, groups), difference(groups, moved)
    assert found.value == pytest.approx(shift, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((shift, shift), abs=1e-9)
    assert back.value == pytest.approx(-shift, abs=1e-9)
    assert found.smallest is None


def test_a_widened_difference_has_the_same_value_and_a_wider_interval() -> None:
    """Everything but the value is told from a standard error that is twice as large."""
    a = {str(k): [k % 3 - 0.2] for k in range(12)}
    b = {key: [0.0] for key in a}
    plain, wide = difference(a, b), difference(a, b, widened=2.0)
    assert wide.value == plain.value
    assert None not in (plain.low, plain.high, plain.p, plain.smallest)
    assert wide.high - wide.low == pytest.approx(2 * (plain.high - plain.low))  # type: ignore[operator]
    assert wide.smallest == pytest.approx(2 * plain.smallest)  # type: ignore[operator]
    assert wide.p > plain.p  # type: ignore[operator]


def test_p_value_and_interval_say_the_same() -> None:
    """p < 0.05 where 0 lies outside the interval, else not (up to the draws' own noise)."""
    rng = np.random.default_rng(4)
    for k in range(200):
        a = {str(i): [float(x)] for i, x in enumerate(rng.normal(0.4, 1, 12 + k % 20))}
        found = difference(a, {key: [0.0] for key in a})
        assert found.p is not None
        if abs(found.p - 0.05) > 0.005:
            assert (found.p < 0.05) == found.distinguishable, (k, found)


def test_coverage_and_false_alarms_at_twenty_vignettes() -> None:
    """Over 500 seeded samples: about 95 % of the intervals hold the truth, about 5 % of p are small."""
    rng = np.random.default_rng(1)
    held = alarms = 0
    for _ in range(500):
        chances = rng.beta(2, 2, 20)
        a = {str(i): (rng.random(3) < p).astype(float).tolist() for i, p in enumerate(chances)}
        b = {str(i): (rng.random(3) < p).astype(float).tolist() for i, p in enumerate(chances)}
        found = mean(a)
        held += found.low is not None and found.high is not None and found.low <= 0.5 <= found.high
        p = difference(a, b).p
        alarms += p is not None and p < 0.05
    assert 460 <= held <= 490
    assert 12 <= alarms <= 40


def test_twenty_vignettes_show_about_a_fifth() -> None:
    """With disagreement on a fifth of right and wrong, 20 vignettes show differences of about 0.2."""
    apart = [1.0, -1.0, 1.0, -1.0, *[0.0] * 16]
    found = smallest_difference(apart)
    assert found is not None
    assert 0.18 < found < 0.24
    many = smallest_difference(apart * 4)
    assert many == pytest.approx(found / 2, rel=0.1)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), max_size=8))
def test_holm_is_monotone_and_never_below_p(ps: dict[str, float]) -> None:
    """Adjusted values keep the order, lie in [p, 1], and are p for a single comparison."""
    adjusted = holm(ps)
    assert list(adjusted) == list(ps)
    order = sorted(ps, key=lambda name: ps[name])
    assert all(ps[name] <= adjusted[name] <= 1 for name in ps)
    assert all(adjusted[a] <= adjusted[b] for a, b in itertools.pairwise(order) if ps[a] < ps[b])
    if len(ps) == 1:
        assert adjusted == ps


def test_holm_on_a_worked_example() -> None:
    """Four values, by hand."""
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})


def test_ratio_pools_and_spread_is_the_standard_deviation() -> None:
    """Σ over Σ, not the mean of shares; and numpy's own standard deviation."""
    assert ratio({"a": [(1, 2), (0, 0)], "b": [(3, 10)]}).value == pytest.approx(4 / 12)
    values = {"a": [0.0, 1.0], "b": [1.0, 1.0], "c": [0.25]}
    assert spread(values).value == pytest.approx(float(np.std([0, 1, 1, 1, 0.25])))


def test_a_ratio_that_some_draw_cannot_tell_has_no_interval() -> None:
    """Six of many vignettes with a denominator count as six; a draw without any is no draw to leave out."""
    some = {str(k): [(float(k % 2), 1.0)] for k in range(6)}
    nothing = {f"none {k}": [(0.0, 0.0)] for k in range(50)}
    assert ratio({**some, **nothing}) == ratio(some)
    assert ratio(some).n == 6
    rare = {**{f"no drug {k}": [(1.0, 0.0)] for k in range(9)}, "one": [(1.0, 2.0)]}
    assert (ratio(rare).value, ratio(rare).low) == (5.0, None)
