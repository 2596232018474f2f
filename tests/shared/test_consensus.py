"""The conclusion of a consultation: lists, support, rules, history rows, and replay."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.consensus import Grade, SeatAnswer, as_detail, conclude_from, history_rows
from shared.memory import Memory, Pool, Reviewer
from shared.refinement import Problem
from shared.safety.finding import Finding, Severity
from shared.schemas import Gold, GoldItem
from shared.support import GAMMA, LOG_ODDS

KIND = "medication/general"
NOTHING = Memory()
LEARNED = Memory(
    Pool(
        reviewers={
            f"model {k}": Reviewer(f"family {k}", 0.05 - 0.02 * k, 1e-3, 0.01 + 0.01 * k, 9.0)
            for k in range(5)
        }
    )
)
GOLD = Gold(required=[GoldItem(any_of=["a"])], never=["z"])


def answer(seat: int, start: str = "", stop: str = "", decision: str = "") -> SeatAnswer:
    """Drugs are letters; without a decision it is what the drugs say."""
    decision = decision or ("recommend" if start or stop else "no_medication")
    return SeatAnswer(seat, 1, f"model {seat}", f"family {seat}", decision, frozenset(start), frozenset(stop))


def grades(rows: dict[tuple[int, int], float]) -> list[Grade]:
    """(reviewer, item) → grade."""
    return [Grade(u, i, g) for (u, i), g in rows.items()]


def all_grades(n: int, by_item: dict[int, float] | None = None) -> list[Grade]:
    """Everybody grades everybody else, each item the same from all."""
    return [Grade(u, i, (by_item or {}).get(i, 0.7)) for u in range(n) for i in range(n) if u != i]


@pytest.mark.parametrize(
    ("lists", "majority", "minority"),
    [
        (["ab", "ac"], "a", "bc"),
        (["ab", "ab", "c"], "ab", "c"),
        (["ab", "ac", "bc"], "abc", ""),
        (["ab", "ab", "c", "c"], "", "abc"),  # two of four are no majority
        (["ab", "ab", "ac", "c"], "a", "bc"),
        (["ab", "", ""], "", "ab"),
    ],
)
def test_majority(lists: list[str], majority: str, minority: str) -> None:
    """More than half of the seats that answered: both of two, two of three, three of four."""
    answers = [answer(k, drugs) for k, drugs in enumerate(lists)]
    found = conclude_from(answers, all_grades(len(lists)), NOTHING, kind=KIND)
    assert "".join(found.majority) == "".join(found.refined) == majority
    assert "".join(found.minority) == minority


def test_stops_are_counted_apart() -> None:
    """A drug to stop is no drug to start, and has a majority of its own."""
    answers = [answer(0, "a", "x"), answer(1, "a", "xy"), answer(2, "x")]
    found = conclude_from(answers, all_grades(3), NOTHING, kind=KIND)
    assert (found.majority, found.stops, found.minority) == (("a",), ("x",), ("x",))


def test_highest_graded() -> None:
    """The best graded answer's list, its grade and variance; a tie goes to the lower seat."""
    answers = [answer(0, "a"), answer(1, "b"), answer(2, "c")]
    found = conclude_from(answers, all_grades(3, {1: 0.9}), NOTHING, kind=KIND)
    assert found.highest_graded == ("b",)
    assert (found.grade, found.variance) == pytest.approx((0.9, 0.0))
    tied = conclude_from(answers, all_grades(3, {1: 0.9, 2: 0.9}), NOTHING, kind=KIND)
    assert tied.highest_graded == ("b",)


def test_support_by_hand() -> None:
    """Drug a is named by seats graded 0.9 and 0.3, not by the one graded 0.6; the mean grade is 0.6."""
    answers = [answer(0, "a"), answer(1, "ab"), answer(2, "c")]
    found = conclude_from(answers, all_grades(3, {0: 0.9, 1: 0.3, 2: 0.6}), NOTHING, kind=KIND)
    logits = {
        "a": LOG_ODDS + GAMMA * 0.3 + LOG_ODDS - GAMMA * 0.3 - LOG_ODDS,
        "b": -LOG_ODDS + LOG_ODDS - GAMMA * 0.3 - LOG_ODDS,
        "c": -LOG_ODDS - LOG_ODDS + LOG_ODDS,
    }
    assert found.support == pytest.approx({d: 1 / (1 + math.exp(-x)) for d, x in logits.items()})


@pytest.mark.parametrize(
    ("answers", "missing", "rule"),
    [
        pytest.param([answer(0, "a"), answer(1, "a"), answer(2, "a")], None, None, id="agreed"),
        pytest.param([answer(0), answer(1), answer(2, "a")], None, "low_agreement", id="no drug, mostly"),
        pytest.param([answer(0), answer(1), answer(2)], None, None, id="agreed that no drug is needed"),
        pytest.param([answer(0, "a"), answer(1, "a")], None, None, id="two agree"),
        pytest.param([answer(0), answer(1, "a")], None, "fewer_than_two_recommend", id="one of each"),
        pytest.param(
            [answer(0, decision="defer"), answer(1, decision="defer"), answer(2, "a")],
            None,
            "fewer_than_two_recommend",
            id="two defer",
        ),
        pytest.param(
            [answer(0), answer(1, decision="defer"), answer(2, "a")],
            None,
            "fewer_than_two_recommend",
            id="three ways",
        ),
        pytest.param([], None, "fewer_than_two_recommend", id="nobody answered"),
        pytest.param([answer(0, "a")], None, "fewer_than_two_recommend", id="one answered"),
        pytest.param(
            [answer(0, "a"), answer(1, "a"), answer(2, "a")], 2, "answer_without_review", id="not reviewed"
        ),
        pytest.param(
            [answer(0, "a"), answer(1, "b"), answer(2, "c")], None, "low_agreement", id="all differ"
        ),
        pytest.param([answer(0, "ab"), answer(1, "ac"), answer(2, "bc")], None, "low_agreement", id="thirds"),
        pytest.param([answer(0, "ab"), answer(1, "ab"), answer(2, "a")], None, None, id="nearly agreed"),
    ],
)
def test_rules(answers: list[SeatAnswer], missing: int | None, rule: str | None) -> None:
    """When a person must look, and when not."""
    given_ = [g for g in all_grades(len(answers)) if g.item != missing]
    assert conclude_from(answers, given_, NOTHING, kind=KIND).rule == rule


def test_nobody_answered() -> None:
    """No answer gives empty lists and no numbers, not an error."""
    found = conclude_from([], [], LEARNED, kind=KIND)
    assert (found.majority, found.highest_graded, dict(found.support)) == ((), (), {})
    assert (found.grade, found.variance, found.agreement, found.confidence) == (None, None, None, None)


def test_grades_of_seats_without_an_answer_do_not_count() -> None:
    """A seat that dropped out neither grades nor is graded."""
    answers = [answer(0, "a"), answer(1, "a")]
    found = conclude_from(answers, all_grades(4), NOTHING, kind=KIND)
    assert found.answers.keys() == found.reviewers.keys() == {0, 1}


def test_the_memory_decides_between_reviewers() -> None:
    """A precise reviewer outweighs a noisy one, and the row says by which form."""
    seats = [answer(0, "a"), answer(1, "b"), answer(2, "c")]
    rows = grades({(0, 2): 0.9, (1, 2): 0.1, (0, 1): 0.5, (2, 1): 0.5, (1, 0): 0.5, (2, 0): 0.5})
    reviewers = {
        "model 0": Reviewer("family 0", 0, 0, 0.001, 99),
        "model 1": Reviewer("family 1", 0, 0, 0.1, 99),
    }
    found = conclude_from(seats, rows, Memory(Pool(reviewers=reviewers)), kind=KIND)
    plain = conclude_from(seats, rows, NOTHING, kind=KIND)
    assert (found.form, found.form_reason) == ("memory", None)
    assert (plain.form, plain.form_reason) == ("mean", "no_memory")
    assert found.answers[2].grade > 0.85
    assert plain.answers[2].grade == pytest.approx(0.5)


@pytest.mark.parametrize("memory", [NOTHING, LEARNED])
@settings(max_examples=40, deadline=None)
@given(data=st.data(), n=st.integers(2, 5))
def test_order_and_replay(memory: Memory, data: st.DataObject, n: int) -> None:
    """Any order of stored rows, and the memory read back from JSON, give the same conclusion bit for bit."""
    lists = data.draw(st.lists(st.text("abcd", max_size=3), min_size=n, max_size=n))
    values = data.draw(st.lists(st.floats(0, 1), min_size=n * n, max_size=n * n))
    answers = [answer(k, drugs) for k, drugs in enumerate(lists)]
    rows = [Grade(u, i, values[n * u + i]) for u in range(n) for i in range(n) if u != i]
    found = conclude_from(answers, rows, memory, kind=KIND)
    again = conclude_from(
        data.draw(st.permutations(answers)),
        [Grade(**g) for g in json.loads(json.dumps([asdict(g) for g in data.draw(st.permutations(rows))]))],
        Memory.from_json(json.loads(json.dumps(memory.to_json()))),
        kind=KIND,
    )
    assert again == found
    assert all(0 < p < 1 for p in found.support.values())
    assert json.loads(json.dumps(as_detail(again))) == json.loads(json.dumps(as_detail(found)))


def test_history_rows_by_hand() -> None:
    """Quality is ten times the grade; review accuracy is against √2 · std of all grades of the run."""
    answers = [answer(0, "a"), answer(1, "b"), answer(2, "az")]
    rows = grades({(1, 0): 0.8, (2, 0): 0.6, (0, 1): 0.4, (2, 1): 0.4, (0, 2): 0.2, (1, 2): 0.4})
    found = history_rows(conclude_from(answers, rows, NOTHING, kind=KIND), answers, rows, GOLD)
    std = math.sqrt(sum((g - 7 / 15) ** 2 for g in (0.8, 0.6, 0.4, 0.4, 0.2, 0.4)) / 6)
    assert [row["quality"] for row in found] == pytest.approx([7.0, 4.0, 3.0])
    assert [row["generation_accuracy"] for row in found] == [1.0, 0.0, 0.0]
    assert [row["variance"] for row in found] == pytest.approx([0.005, 0.01, 0.005])
    assert [row["review_accuracy"] for row in found] == pytest.approx(
        [1 - math.sqrt(v) / (math.sqrt(2) * std) for v in (0.005, 0.01, 0.005)]
    )
    assert [(row["seat"], row["occupancy"], row["model_version_id"]) for row in found] == [
        (k, 1, f"model {k}") for k in range(3)
    ]


def test_history_rows_without_an_outcome() -> None:
    """Whether the answer was right is not known."""
    answers = [answer(0, "a"), answer(1, "a")]
    rows = all_grades(2)
    found = history_rows(conclude_from(answers, rows, NOTHING, kind=KIND), answers, rows, None)
    assert [row["generation_accuracy"] for row in found] == [None, None]


def test_review_accuracy_is_not_known_when_all_grades_are_equal() -> None:
    """K = 0 measures nobody."""
    answers = [answer(0, "a"), answer(1, "a"), answer(2, "a")]
    rows = all_grades(3, dict.fromkeys(range(3), 0.1))
    found = history_rows(conclude_from(answers, rows, NOTHING, kind=KIND), answers, rows, None)
    assert [row["review_accuracy"] for row in found] == [None, None, None]


def test_review_accuracy_is_not_known_when_nobody_else_graded_the_item() -> None:
    """With two models no item has a second opinion; with a third, those who share an item are measured."""
    two = [answer(0, "a"), answer(1, "a")]
    rows = grades({(0, 1): 0.9, (1, 0): 0.3})
    found = history_rows(conclude_from(two, rows, NOTHING, kind=KIND), two, rows, None)
    assert [row["review_accuracy"] for row in found] == [None, None]
    three = [*two, answer(2, "a")]
    rows += grades({(2, 0): 0.5})
    found = history_rows(conclude_from(three, rows, NOTHING, kind=KIND), three, rows, None)
    assert [row["review_accuracy"] is None for row in found] == [True, False, False]


def test_a_seat_that_neither_graded_nor_was_graded() -> None:
    """Its row has no quality and no variance."""
    answers = [answer(0, "a"), answer(1, "a"), answer(2, "a")]
    rows = grades({(0, 1): 0.9, (1, 0): 0.3})
    row = history_rows(conclude_from(answers, rows, NOTHING, kind=KIND), answers, rows, GOLD)[2]
    assert (row["quality"], row["variance"], row["review_accuracy"]) == (None, None, None)
    assert row["generation_accuracy"] == 1.0


def test_a_single_seat() -> None:
    """What councils are compared with: its list is the majority, and no number is made up."""
    found = conclude_from([answer(0, "ab")], [], LEARNED, kind=KIND)
    assert (found.majority, found.refined, found.minority) == (("a", "b"), ("a", "b"), ())
    assert (found.grade, found.variance, found.agreement, found.confidence) == (None, None, None, None)
    assert dict(found.answers) == dict(found.reviewers) == {}
    assert found.rule is not None
    [row] = history_rows(found, [answer(0, "ab")], [], GOLD)
    assert (row["quality"], row["review_accuracy"], row["generation_accuracy"]) == (None, None, 1.0)


def test_where_none_has_enough_support_the_best_harmless_answer_stands() -> None:
    """Three answers, three drugs: the best graded that harms nothing; where grades have no weight, none."""
    answers = [answer(0, "a"), answer(1, "b"), answer(2, "c")]
    grades = all_grades(3, {0: 0.55, 1: 0.5, 2: 0.45})
    meets = Finding("interaction", "a", "w", Severity.major, "", "", "", "r")

    def listed(*findings: Finding, gamma: float = GAMMA) -> tuple[str, ...]:
        found = conclude_from(
            answers,
            grades,
            NOTHING,
            kind=KIND,
            gamma=gamma,
            problem_of=lambda drugs, _: Problem(tuple(drugs), ("w",), findings),
        )
        assert found.majority == ()
        assert found.refinement is not None
        steps = [edit.gain.total for edit in found.refinement.result.edits]
        assert math.fsum(steps) == pytest.approx(found.refinement.result.utility.total)
        return found.refined

    assert listed() == ("a",)
    assert listed(meets) == ("b",)
    assert listed(gamma=0.0) == ()
