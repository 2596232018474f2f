"""Lists compared by what interacts: counted by hand, told apart only with an interval; the curve over λ."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from producers.evaluation.chart import COLUMNS, chart
from producers.evaluation.listed import Interacting, interacting, listed
from producers.evaluation.plots import svg
from producers.evaluation.reports import build
from producers.evaluation.reports.lists import fewer, named, per_drug, pooled_rate
from producers.evaluation.reports.model import Curve, Point, Report
from producers.evaluation.terminal import WIDTH, print_reports
from shared.refinement import Dials, Problem, refine
from shared.safety.finding import Finding, Severity
from shared.schemas import Gold
from shared.statistics import Estimate
from tests.producers.evaluation.synthetic import a_list, arm, lists, meta, row, study


def pair(drug: str, other: str, severity: Severity = Severity.major, rule: str = "r", **kind: Any) -> Finding:
    """What was found of two drugs."""
    return Finding(kind.get("kind", "interaction"), drug, other, severity, "harm", "", "test", rule)


PROBLEM = Problem(
    ("a", "b", "c"),
    ("m", "n"),
    (
        pair("a", "b"),
        pair("b", "a", Severity.minor, "s"),  # the same pair by another rule
        pair("a", "m", Severity.moderate),
        pair("c", "n", Severity.minor),
        pair("m", "n", Severity.contraindicated),  # both taken already: not the list's doing
        pair("b", "c", Severity.moderate, kind="duplicate"),  # of one class, no interaction
        Finding("allergy", "c", "c", Severity.major, "anaphylaxis", "", "test", "x"),
    ),
)


def test_interacting_pairs_are_counted_once_and_only_where_the_list_brings_them() -> None:
    """By hand: within the list, with what is taken, and the severity that the utility counts."""
    assert interacting(["a", "b", "c"], PROBLEM) == Interacting(1, 1, pytest.approx(0.6 + 0.5 + 0.05), 1)
    assert interacting(["a", "b"], PROBLEM) == Interacting(1, 1, pytest.approx(0.6 + 0.25))
    assert interacting(["c"], PROBLEM) == Interacting(0, 0, 0.05, 1), "a minor one is counted apart"
    assert interacting([], PROBLEM) == Interacting(0, 0, 0)
    one = listed(["a", "b", "c"], Gold(), PROBLEM)
    assert (one.rate, one.size, one.possible) == (1 / 3, 3, 3)
    assert listed(["a"], Gold(), PROBLEM).rate is None, "below two drugs there is no rate"
    assert listed(["a", "b"], Gold(), None).rate is None, "without findings nothing is known, which is not 0"


DRUGS = st.sampled_from("abcdefmn")
SOME = st.lists(st.tuples(DRUGS, DRUGS, st.sampled_from(list(Severity))), max_size=12)


@settings(max_examples=40, deadline=None)
@given(SOME, st.lists(st.floats(0.05, 0.95), min_size=6, max_size=6), st.sets(st.sampled_from("abcdef")))
def test_severity_is_what_the_utility_counts(
    found: list[tuple[str, str, Severity]], support: list[float], majority: set[str]
) -> None:
    """−λ times the severity of the refined list is its term in the utility, whatever was found."""
    problem = Problem(
        tuple("abcdef"),
        ("m", "n"),
        tuple(pair(a, b, s, f"r{k}") for k, (a, b, s) in enumerate(found) if a != b),
    )
    refined = refine(problem, dict(zip("abcdef", support, strict=True)), majority, {}, Dials(severity=0.5))
    assert refined.utility.severity == pytest.approx(-0.5 * interacting(refined.drugs, problem).severity)


def rows(**changed: Any) -> list[Any]:
    """Twenty vignettes whose majority has one interacting pair in two drugs."""
    usual = lists(majority=a_list(within=1), screened=a_list(within=1), highest_graded=a_list(within=1))
    return [row(vignette=f"v{k}", case=k, lists={**usual, **changed}) for k in range(20)]


def test_pooled_pairs_are_divided_by_pairs_and_by_drugs() -> None:
    """By hand: 1 of 3 pairs and 0 of 1; pairs per drug over 5 drugs; what is not known is left out."""
    three, two = a_list(size=3, within=1, taken=1), a_list(size=2)
    some = [
        row(vignette="a", lists=lists(refined=three)),
        row(vignette="b", lists=lists(refined=two)),
        row(vignette="c", lists=lists(refined=listed(["x"], Gold(), None))),
        row(vignette="d", lists={}, state="failed", right=None),
    ]
    assert pooled_rate(some, named("refined")).value == pytest.approx(1 / 4)
    assert per_drug(some, named("refined")).value == pytest.approx(2 / 5)
    assert per_drug(some, named("refined"), lambda one: one.within).value == pytest.approx(1 / 5)
    report = build(["paper"], some, meta(some))[0]
    table = next(it for it in report.tables if it.title == "Interactions of the final lists")
    assert table.rows[0][2] == 2
    mean = table.rows[0][3]
    assert isinstance(mean, Estimate)
    assert mean.value == pytest.approx((1 / 3 + 0) / 2)


def test_fewer_is_said_only_where_the_interval_leaves_one_out() -> None:
    """All of them gone: fewer. A coin's difference: not distinguishable. None in both: cannot be told."""
    gone = fewer(rows(), "refined", "screened")
    assert (gone.a, gone.b, gone.finding) == (0, 0.5, "fewer")
    assert fewer(rows(), "screened", "majority").ratio == 1
    assert fewer(rows(), "refined", "ungraded").finding == "cannot be told"
    chance = random.Random(2)
    coins = [
        row(
            vignette=f"v{k}",
            lists=lists(
                refined=a_list(within=chance.randint(0, 1)), screened=a_list(within=chance.randint(0, 1))
            ),
        )
        for k in range(20)
    ]
    assert fewer(coins, "refined", "screened").finding == "not distinguishable"


def planted(fewer_in: int, more_in: int = 0, vignettes: int = 20) -> list[Any]:
    """The screened majority has a pair in the first vignettes, the refined list in the next."""
    return [
        row(
            vignette=f"v{k}",
            case=k,
            lists=lists(
                screened=a_list(within=int(k < fewer_in)),
                refined=a_list(within=int(fewer_in <= k < fewer_in + more_in)),
            ),
        )
        for k in range(vignettes)
    ]


@pytest.mark.parametrize(
    ("fewer_in", "more_in", "vignettes", "finding"),
    [
        (0, 0, 20, "cannot be told"),
        (1, 0, 20, "not distinguishable"),
        (2, 0, 20, "not distinguishable"),
        (1, 0, 300, "not distinguishable"),
        (5, 0, 20, "not distinguishable"),
        (6, 0, 20, "fewer"),
        (6, 0, 300, "fewer"),
        (6, 5, 20, "not distinguishable"),
        (0, 15, 20, "more"),
        (4, 0, 4, "cannot be told"),
    ],
)
def test_no_safety_is_claimed_from_a_pair_or_two(
    fewer_in: int, more_in: int, vignettes: int, finding: str
) -> None:
    """Six vignettes must differ, and 0 must lie outside the paired difference; a list without a pair is no
    proof, and one with many beside none is found out."""
    of = planted(fewer_in, more_in, vignettes)
    found = fewer(of, "refined", "screened")
    assert (found.finding, found.differ) == (finding, fewer_in + more_in)
    claim = f"{finding} interacting pairs."
    assert (claim in safety(of).sentences[0]) == (finding in ("fewer", "more"))
    back = fewer(of, "screened", "refined")
    assert (back.difference.value or 0) == pytest.approx(-(found.difference.value or 0))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=1, max_size=12))
def test_the_difference_is_that_of_the_pooled_rates(each: list[tuple[int, int, int, int]]) -> None:
    """Pairs over drugs of one list less those of the other, whatever the sizes; the ratio is of the same."""
    of = [
        row(
            vignette=f"v{k}",
            lists=lists(refined=a_list(size=1 + a, within=b), screened=a_list(size=1 + c, within=d)),
        )
        for k, (a, b, c, d) in enumerate(each)
    ]
    found = fewer(of, "refined", "screened")
    a, b = (per_drug(of, named(name)).value or 0 for name in ("refined", "screened"))
    assert (found.a, found.b) == (pytest.approx(a), pytest.approx(b))
    assert found.difference.value == (pytest.approx(a - b) if a or b else None)
    assert found.ratio == (pytest.approx(a / b) if b else None)


def test_a_list_without_a_pair_has_no_interval() -> None:
    """0 of 20 is no [0, 0]: the next one may have some."""
    assert per_drug(planted(3), named("refined")) == Estimate(0.0, None, None, 20)
    assert per_drug(planted(3), named("screened")).low is not None


def safety(of: list[Any]) -> Report:
    return build(["safety"], of, meta(of))[0]


def test_it_is_said_plainly_when_grade_or_refinement_add_nothing() -> None:
    """Equal lists add nothing; fewer pairs are named; a lost F1 is named too."""
    refined, _, grade, _ = safety(rows()).sentences
    assert "it brings fewer interacting pairs." in refined
    assert "γ = 0" in grade
    assert "it adds nothing that can be told here." in grade
    same = [row(vignette=f"v{k}") for k in range(20)]
    assert "it adds nothing that can be told here." in safety(same).sentences[0]
    chance = random.Random(3)
    worse = [
        row(vignette=f"v{k}", lists=lists(refined=a_list(right=chance.random() < 0.2))) for k in range(40)
    ]
    assert "it brings lower F1." in safety(worse).sentences[0]


def test_rows_from_before_refinement_are_compared_as_far_as_they_go() -> None:
    """No screened list, no findings, no curve: said, not counted as 0."""
    old = [
        row(
            vignette=f"v{k}",
            lists={name: listed(["x"], Gold(), None) for name in ("highest_graded", "majority", "refined")},
        )
        for k in range(5)
    ]
    report = safety(old)
    assert "No consultation here was refined" in report.sentences[-1]
    assert "it cannot be told what it adds." in report.sentences[0]
    assert report.plots == ()
    table = next(it for it in report.tables if it.title.startswith("Interacting pairs"))
    assert {str(cells[2]) for cells in table.rows} == {"cannot be told"}
    assert len(chart_lines(report)) == 0


def chart_lines(report: Report) -> list[str]:
    return [line for plot in report.plots if isinstance(plot, Curve) for line in chart(plot)]


def test_the_curve_is_drawn_for_a_terminal_and_for_the_page() -> None:
    """Every λ is named in both; the terminal's drawing keeps within its columns."""
    some = study([arm("RANDOM")], vignettes=6, repeats=2)
    report = safety(some)
    table = next(it for it in report.tables if "curve over λ" in it.title)
    assert [cells[0] for cells in table.rows] == ["0", "0.2", "1"]
    said = io.StringIO()
    print_reports([report], Console(file=said, width=140))
    assert max(map(len, said.getvalue().splitlines())) <= WIDTH
    lines = chart_lines(report)
    assert sum("● refined, by λ" in line for line in lines) == 2
    curve = report.plots[0]
    assert isinstance(curve, Curve)
    assert [point.label for _, point in curve.series[0][1]] == ["0", "0.2", "1"]
    assert all(f">{dial}</text>" in svg(curve) for dial in ("0", "0.2", "1"))


def test_marks_lie_where_the_numbers_are() -> None:
    """The least is at the lower left, the largest at the upper right, half way in the middle."""
    line = tuple((x, Point(f"{x:g}", x, None, None)) for x in (0.0, 0.5, 1.0))
    body = [each[10:] for each in chart(Curve("t", "y", "x", (("s", line),))) if "┤" in each]
    at = [(k, cells.index("●")) for k, cells in enumerate(body) if "●" in cells]
    assert at == [(0, COLUMNS - 1), (8, 36), (len(body) - 1, 0)]
