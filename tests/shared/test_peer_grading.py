"""The default form: the plain mean without a memory, the weighted mean with one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.memory import Memory, Pool, Reviewer
from shared.peer_grading import Seat, grade_peers
from shared.vancouver import BadGrade

Edges = list[tuple[int, int, float]]
SEATS = {k: Seat(f"m{k}", f"f{k % 4}") for k in range(12)}
POOL = Pool(
    reviewers={
        f"m{k}": Reviewer(f"f{k % 4}", 0.02 * (k - 2), 0.0005, 0.002 * (k + 1), 50.0) for k in range(10)
    },
    shared={f"f{k}": 0.001 * (k + 1) for k in range(3)},
    told=frozenset({"f0", "f1", "f2", "f3"}),
)
POOLS = [pytest.param(None, id="no memory"), pytest.param(POOL, id="memory")]

grade = st.floats(0, 1)
edges = st.dictionaries(
    st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda e: e[0] != e[1]),
    grade,
    min_size=1,
    max_size=40,
).map(lambda d: [(u, i, g) for (u, i), g in d.items()])


def council(n: int) -> Edges:
    """N models that grade each other, never themselves."""
    return [(u, i, 0.5 + 0.3 * math.sin(7.0 * u + 3.0 * i)) for u in range(n) for i in range(n) if u != i]


@pytest.mark.parametrize("pool", POOLS)
@given(graph=edges, data=st.data())
def test_order_does_not_matter(pool: Pool | None, graph: Edges, data: st.DataObject) -> None:
    """Any order of the grades gives the same bits."""
    assert grade_peers(data.draw(st.permutations(graph)), SEATS, pool) == grade_peers(graph, SEATS, pool)


@given(graph=edges)
def test_without_a_memory_it_is_the_plain_mean(graph: Edges) -> None:
    """Number 0 knows nothing: every reviewer counts alike, nobody is biased, and the row says why."""
    found = grade_peers(graph, SEATS, Memory().pool("medication/general"))
    assert (found.form, found.reason) == ("mean", "no_memory")
    for i, item in found.items.items():
        assert item.grade == pytest.approx(np.mean([g for _, j, g in graph if j == i]), abs=1e-12)
    assert {reviewer.bias for reviewer in found.reviewers.values()} == {0.0}


@pytest.mark.parametrize("pool", POOLS)
@given(graph=edges)
def test_bounds(pool: Pool | None, graph: Edges) -> None:
    """Grades and reliabilities stay in [0, 1], variances in [0, 1], one entry for each vertex."""
    found = grade_peers(graph, SEATS, pool)
    assert set(found.items) == {i for _, i, _ in graph}
    assert set(found.reviewers) == {u for u, _, _ in graph}
    assert all(0 <= item.grade <= 1 and 0 <= item.variance <= 1 for item in found.items.values())
    assert all(0 <= r.reliability <= 1 and r.variance >= 0 for r in found.reviewers.values())


@given(graph=edges, same=grade)
def test_unanimity(graph: Edges, same: float) -> None:
    """All grades equal: that grade for every item, and everybody is reliable."""
    found = grade_peers([(u, i, same) for u, i, _ in graph], SEATS, None)
    assert all(item.grade == pytest.approx(same, abs=1e-12) for item in found.items.values())
    assert {reviewer.reliability for reviewer in found.reviewers.values()} == {1.0}


@pytest.mark.parametrize("pool", POOLS)
def test_two_models(pool: Pool | None) -> None:
    """With two an item's grade is its one review less the reviewer's remembered bias."""
    found = grade_peers([(0, 1, 0.8), (1, 0, 0.4)], SEATS, pool)
    bias = {u: pool.reviewers[f"m{u}"].bias if pool else 0.0 for u in (0, 1)}
    assert found.items[1].grade == pytest.approx(0.8 - bias[0])
    assert found.items[0].grade == pytest.approx(0.4 - bias[1])


@pytest.mark.parametrize("pool", POOLS)
def test_twelve_models(pool: Pool | None) -> None:
    """Twelve get a grade and a measure each."""
    found = grade_peers(council(12), SEATS, pool)
    assert len(found.items) == len(found.reviewers) == 12


def test_more_reviewers_are_more_certain() -> None:
    """With a memory eleven reviewers leave less variance than two."""
    large, small = grade_peers(council(12), SEATS, POOL), grade_peers(council(3), SEATS, POOL)
    assert large.items[0].variance < small.items[0].variance


def test_weights_use_the_whole_covariance() -> None:
    """The closed form is generalised least squares with the full covariance matrix."""
    given = [(u, 0, 0.3 + 0.05 * u) for u in range(1, 10)]
    who = [POOL.reviewers[f"m{u}"] for u, _, _ in given]
    same = np.array([[a.family == b.family for b in who] for a in who])
    shared = np.array([POOL.shared.get(r.family, POOL.shared_pool) for r in who])
    inverse = np.linalg.inv(same * shared + np.diag([r.variance + r.bias_variance for r in who]))
    corrected = np.array([g - r.bias for (_, _, g), r in zip(given, who, strict=True)])
    item = grade_peers(given, SEATS, POOL).items[0]
    assert item.grade == pytest.approx(inverse.sum(axis=0) @ corrected / inverse.sum())
    assert item.variance == pytest.approx(1 / inverse.sum())


def test_a_stranger_has_the_pools_numbers() -> None:
    """A reviewer the memory has never met counts as one it met zero times."""
    seats = {0: Seat("new", "other"), 1: Seat("m1", "f1")}
    named = Pool(
        reviewers=dict(POOL.reviewers)
        | {"new": Reviewer("other", 0.0, POOL.bias_variance, POOL.variance, 0.0)},
        shared=POOL.shared,
        told=POOL.told,
    )
    graph = [(0, 2, 0.9), (1, 2, 0.1), (0, 3, 0.2), (1, 3, 0.3)]
    assert grade_peers(graph, seats, POOL) == grade_peers(graph, seats, named)


def test_sharing_that_cannot_be_told_is_the_mean_with_its_reason() -> None:
    """Two of one family whose common errors are unknown: nobody is weighted, nobody is blamed."""
    untold = Pool(reviewers=POOL.reviewers, shared=POOL.shared, told=frozenset({"f1"}))
    together = [(0, 1, 0.9), (4, 1, 0.8), (2, 1, 0.1)]  # m0 and m4 are both of f0
    found = grade_peers(together, SEATS, untold)
    assert (found.form, found.reason) == ("mean", "sharing_not_told")
    assert found.items == grade_peers(together, SEATS, None).items
    apart = [(0, 1, 0.9), (3, 1, 0.8), (2, 1, 0.1)]
    assert grade_peers(apart, SEATS, untold).form == "memory"
    assert grade_peers(together, SEATS, POOL).form == "memory"


def test_work_grows_with_the_grades() -> None:
    """Twice the reviewers and items, five grades each: names are looked at twice, not four times as often."""
    looks = 0

    class Looked(int):
        def __hash__(self) -> int:
            nonlocal looks
            looks += 1
            return int.__hash__(self)

        def __eq__(self, other: object) -> bool:
            nonlocal looks
            looks += 1
            return int.__eq__(self, other)

    found = []
    for n in (100, 200):
        graph = [(Looked(u), (u + k) % n, 0.1 * k) for u in range(n) for k in range(1, 6)]
        seats = {u: Seat(str(u), Looked(u)) for u in range(n)}  # type: ignore[arg-type]
        looks = 0
        grade_peers(graph, seats, Pool())
        found.append(looks)
    assert found[1] < 2.5 * found[0]


def test_a_second_grade_replaces_the_first() -> None:
    """The last grade of a reviewer for an item counts."""
    graph = council(3)
    assert grade_peers([(0, 1, 0.99), *graph], SEATS, POOL) == grade_peers(graph, SEATS, POOL)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.01, 1.01])
def test_a_bad_grade_is_rejected(wrong: float) -> None:
    """What is no number in [0, 1] never enters the graph."""
    with pytest.raises(BadGrade, match="the grade of 0 for 1 is not a number from 0 to 1"):
        grade_peers([(0, 1, wrong)], SEATS, POOL)


def test_replay_from_json_is_bit_exact() -> None:
    """The memory as stored gives the same bits as the memory as learned."""
    memory = Memory(POOL, {"medication/general": POOL})
    again = Memory.from_json(json.loads(json.dumps(memory.to_json())))
    assert again == memory
    kind = "medication/general"
    assert grade_peers(council(5), SEATS, again.pool(kind)) == grade_peers(
        council(5), SEATS, memory.pool(kind)
    )


@pytest.mark.parametrize("pool", POOLS)
def test_a_reviewer_without_overlap_is_not_perfect(pool: Pool | None) -> None:
    """N = 2: nobody else graded what a seat graded, so nothing shows it reliable; the prior answers."""
    seats = {0: Seat("one", "a"), 1: Seat("two", "b")}
    found = grade_peers([(0, 1, 0.2), (1, 0, 0.9)], seats, pool)
    assert all(0 < r.reliability < 1 and r.variance > 0 for r in found.reviewers.values())
