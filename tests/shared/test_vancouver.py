"""The reference form of Vancouver against golden values, and what must hold for any graph."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.vancouver import BadGrade, _Groups, vancouver

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vancouver_cases.json").read_text())[
    "cases"
]
Edges = list[tuple[str, str, float]]
SETTINGS = [(exclusive, debias) for exclusive in (False, True) for debias in (False, True)]

grade = st.one_of(st.floats(0, 1, allow_subnormal=False), st.sampled_from([0.0, 0.5, 0.7, 1.0]))
edges = st.dictionaries(
    st.tuples(st.sampled_from("abcdefg"), st.sampled_from("stuvwxyz")), grade, min_size=1, max_size=25
).map(lambda d: [(u, i, g) for (u, i), g in d.items()])


def council(n: int, spread: float = 0.3) -> Edges:
    """N models that grade each other, never themselves."""
    return [
        (f"m{u}", f"m{i}", 0.5 + spread * math.sin(7.0 * u + 3.0 * i))
        for u in range(n)
        for i in range(n)
        if u != i
    ]


@pytest.mark.parametrize(
    ("case", "golden"),
    [
        pytest.param(case, golden, id=f"{case['name']}-{golden['use_all_data']}-{golden['debias']}")
        for case in CASES
        for golden in case["results"]
    ],
)
def test_golden(case: dict[str, Any], golden: dict[str, Any]) -> None:
    """Every published graph under each of the four settings, on 0…10."""
    found = vancouver(
        [(u, i, g) for u, i, g in case["reviews"]],
        scale=10,
        exclusive=not golden["use_all_data"],
        debias=golden["debias"],
        rounds=golden["iterations"],
    )
    assert found.items.keys() == golden["items"].keys()
    assert found.reviewers.keys() == golden["reviewers"].keys()
    for name, item in golden["items"].items():
        assert vars(found.items[name]) == pytest.approx(item, rel=1e-6, abs=1e-15)
    for name, reviewer in golden["reviewers"].items():
        expected = {"reliability": reviewer["quality"], "variance": reviewer["variance"]}
        got = found.reviewers[name]
        assert {"reliability": got.reliability, "variance": got.variance} == pytest.approx(
            expected, rel=1e-6, abs=1e-15
        )
        assert got.bias == pytest.approx(reviewer["bias"], rel=1e-6, abs=1e-9)


def test_all_golden_cases_are_there() -> None:
    """Ten graphs, four settings each: a lost case is noticed."""
    assert [len(case["results"]) for case in CASES] == [4] * 10


@pytest.mark.parametrize(("exclusive", "debias"), SETTINGS)
@settings(max_examples=25, deadline=None)
@given(graph=edges, data=st.data())
def test_order_does_not_matter(exclusive: bool, debias: bool, graph: Edges, data: st.DataObject) -> None:
    """Any order of the grades gives the same bits."""
    shuffled = data.draw(st.permutations(graph))
    assert vancouver(shuffled, exclusive=exclusive, debias=debias) == vancouver(
        graph, exclusive=exclusive, debias=debias
    )


@pytest.mark.parametrize(("exclusive", "debias"), SETTINGS)
@pytest.mark.parametrize("scale", [5.0, 10.0, 100.0])
def test_scale(exclusive: bool, debias: bool, scale: float) -> None:
    """On [0, S] grades and biases are S times those on [0, 1], variances S² times, reliabilities the same."""
    graph = council(4)
    one = vancouver(graph, exclusive=exclusive, debias=debias)
    big = vancouver([(u, i, scale * g) for u, i, g in graph], scale=scale, exclusive=exclusive, debias=debias)
    for name, item in one.items.items():
        assert big.items[name].grade == pytest.approx(scale * item.grade, rel=1e-6)
        assert big.items[name].variance == pytest.approx(scale**2 * item.variance, rel=1e-6)
    for name, reviewer in one.reviewers.items():
        assert big.reviewers[name].reliability == pytest.approx(reviewer.reliability, rel=1e-6)
        assert big.reviewers[name].variance == pytest.approx(scale**2 * reviewer.variance, rel=1e-6)
        assert big.reviewers[name].bias == pytest.approx(scale * reviewer.bias, rel=1e-6)


@pytest.mark.parametrize(("exclusive", "debias"), SETTINGS)
@settings(max_examples=20, deadline=None)
@given(graph=edges, same=grade)
def test_unanimity(exclusive: bool, debias: bool, graph: Edges, same: float) -> None:
    """All grades equal: that grade for every item; the reference then calls nobody reliable."""
    found = vancouver([(u, i, same) for u, i, _ in graph], exclusive=exclusive, debias=debias)
    assert all(item.grade == pytest.approx(same, abs=1e-12) for item in found.items.values())
    assert {reviewer.reliability for reviewer in found.reviewers.values()} == {0.0}


@pytest.mark.parametrize("exclusive", [False, True])
@settings(max_examples=60, deadline=None)
@given(graph=edges)
def test_bounds(exclusive: bool, graph: Edges) -> None:
    """An item's grade lies among those given to it; variances are not negative; reliability is in [0, 1]."""
    found = vancouver(graph, exclusive=exclusive)
    for name, item in found.items.items():
        own = [g for _, i, g in graph if i == name]
        assert min(own) - 1e-12 <= item.grade <= max(own) + 1e-12
        assert 0 <= item.variance <= 1
    for reviewer in found.reviewers.values():
        assert 0 <= reviewer.reliability <= 1
        assert 0 <= reviewer.variance <= 1
        assert reviewer.bias == 0


@pytest.mark.parametrize(("exclusive", "debias"), SETTINGS)
@pytest.mark.parametrize("n", [2, 12])
def test_smallest_and_largest_council(exclusive: bool, debias: bool, n: int) -> None:
    """Two models and twelve get finite results for each of them."""
    found = vancouver(council(n), exclusive=exclusive, debias=debias)
    assert len(found.items) == len(found.reviewers) == n
    assert all(math.isfinite(item.grade) and math.isfinite(item.variance) for item in found.items.values())


def test_missing_edges() -> None:
    """A graph in two parts that do not touch gives each part what it gives alone."""
    left = council(3)
    right = [(f"x{u}", f"x{i}", 1 - g) for u, i, g in council(4)]
    alone, both = vancouver(left), vancouver(left + right)
    for name, item in alone.items.items():
        assert vars(both.items[name]) == pytest.approx(vars(item), rel=1e-12)


def test_nothing_gives_nothing() -> None:
    """No grades are no error."""
    nobody: Edges = []
    found = vancouver(nobody)
    assert not found.items
    assert not found.reviewers


def test_a_second_grade_replaces_the_first() -> None:
    """The last grade of a reviewer for an item counts."""
    graph = council(3)
    u, i, _ = graph[0]
    assert vancouver([(u, i, 0.99), *graph]) == vancouver(graph)
    assert vancouver([*graph, (u, i, 0.99)]) != vancouver(graph)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -0.01, 1.01])
def test_a_bad_grade_is_rejected(wrong: float) -> None:
    """What is no number on the scale names reviewer and item, and never poisons the graph."""
    with pytest.raises(BadGrade, match="the grade of anna for pizza is not a number from 0 to 1") as caught:
        vancouver([*council(3), ("anna", "pizza", wrong)])
    assert str(wrong) not in str(caught.value)


def test_the_scale_is_the_bound() -> None:
    """7 is a grade on 0…10 and none on 0…5."""
    assert vancouver([("anna", "pizza", 7.0)], scale=10).items["pizza"].grade == 7
    with pytest.raises(BadGrade, match="from 0 to 5"):
        vancouver([("anna", "pizza", 7.0)], scale=5)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    step=st.sampled_from([1e-9, 0.1, 1.0]),
)
def test_what_others_hold_equals_the_plain_sum(sizes: list[int], seed: int, step: float) -> None:
    """For each edge, over its vertex's others, however unlike the weights and however like the grades are."""
    rng = np.random.default_rng(seed)
    vertex = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    weight = 10 ** rng.uniform(0, 6, len(vertex))
    off = 0.5 + step * rng.uniform(-1, 1, len(vertex))
    groups = _Groups(vertex, exclusive=True)
    total, first = groups.gather(weight, weight * off)
    bias = first / total
    squares = groups.squares(weight, off, bias)
    for k, v in enumerate(vertex):
        same = np.flatnonzero(vertex == v)
        others = same[same != k] if len(same) > 1 else same
        assert total[k] == pytest.approx(math.fsum(weight[others]), rel=1e-14)
        one = weight[others] * off[others]
        assert abs(first[k] - math.fsum(one)) <= 1e-14 * math.fsum(abs(one))
        plain = math.fsum(weight[others] * (off[others] - bias[k]) ** 2)
        assert squares[k] / total[k] == pytest.approx(plain / total[k], rel=1e-12, abs=1e-15 * step)


def test_leaving_out_takes_no_more_space_than_the_grades() -> None:
    """Twice the grades of one reviewer: twice the space, not the four times of their pairs."""
    peaks = []
    for n in (500, 1000):
        graph = [("u", f"{i:04}", i % 7 / 7) for i in range(n)]
        tracemalloc.start()
        vancouver(graph, exclusive=True, debias=True, rounds=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 3 * peaks[0]
