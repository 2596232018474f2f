"""The reports of an evaluation: every figure of a tiny case by hand, and what words they choose."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest

from producers.evaluation.reports import REPORTS, as_json, build, names
from producers.evaluation.reports.comparisons import Pair, compare
from producers.evaluation.reports.model import Column, Report, Table, shown
from producers.evaluation.reports.study import Study
from shared.errors import SettingsError
from shared.statistics import Difference, Estimate, difference, holm
from tests.producers.evaluation.synthetic import arm, meta, rights, row, study, usual_arms


def of(name: str, rows: list[Any]) -> Report:
    return build([name], rows, meta(rows))[0]


def table(report: Report, title: str) -> Table:
    return next(it for it in report.tables if it.title == title)


def figures(report: Report, title: str) -> dict[str, dict[str, Any]]:
    """Row's name → column → the value alone, without its interval."""
    found = table(report, title)
    return {
        str(cells[0]): {
            column.head: cell.value if isinstance(cell, Estimate | Difference) else cell
            for column, cell in zip(found.columns, cells, strict=True)
        }
        for cells in found.rows
    }


def tiny() -> list[Any]:
    """Two vignettes twice: RANDOM right in 1 of 4, CHEMISTRY in 3 of 4."""
    random_ = rights(arm("RANDOM"), {"a": [True, False], "b": [False, False]}, wall_s=20.0, variance=0.03)
    chemistry = rights(arm("CHEMISTRY"), {"a": [True, True], "b": [True, False]}, f1=0.5, cost_usd=0.02)
    failed = replace(
        chemistry[-1],
        state="failed",
        reason="no_answers",
        right=None,
        f1=None,
        list_size=None,
        variance=None,
        lists={},
        retries=2,
        substitutions=1,
        cost_usd=None,
        seats_right=1,
    )
    return [*random_, *chemistry[:-1], failed]


def test_every_figure_of_a_tiny_case_is_what_one_computes_by_hand() -> None:
    """Accuracy, spread, F1, variance on both scales, amplification, list sizes: on two vignettes."""
    report = of("paper", tiny())
    quality = figures(report, "Quality by arm")
    assert quality["RANDOM n=3"] == {
        "arm": "RANDOM n=3",
        "accuracy": 0.25,
        "its SD over vignettes": 0.25,  # 0.5 and 0
        "F1": 1.0,
        "consensus variance, 0…1": pytest.approx(0.03),
        "consensus variance, 0…10": pytest.approx(3.0),
    }
    assert quality["CHEMISTRY n=3"]["accuracy"] == 0.75
    assert quality["CHEMISTRY n=3"]["F1"] == pytest.approx(3 * 0.5 / 4)  # the failed one counts 0
    assert quality["CHEMISTRY n=3"]["consensus variance, 0…1"] == pytest.approx(0.01)  # known ones alone
    council = figures(report, "Error amplification and rescue")
    assert council["RANDOM n=3"]["amplified"] == 0.75
    assert council["RANDOM n=3"]["rescued"] == 0.0
    assert council["CHEMISTRY n=3"]["accuracy of its seats"] == pytest.approx((2 + 2 + 2 + 1) / 12)
    assert figures(report, "Final lists")["CHEMISTRY n=3"]["drugs on the list"] == 1.0
    lists = figures(report, "The lists of each arm")["CHEMISTRY n=3"]
    assert lists["refined"] == 0.75


def test_ends_times_and_costs_of_a_tiny_case() -> None:
    """Failures have their cause, an unknown price is no 0, ratios are of means over shared vignettes."""
    report = of("paper", tiny())
    ends = figures(report, "How they ended")["CHEMISTRY n=3"]
    assert (ends["all"], ends["completed"], ends["failed"], ends["why failed"]) == (4, 3, 1, "no answers 1")
    tried = table(report, "Substitutions and retries").rows[1]
    assert (tried[1], tried[3]) == (1, 2)
    assert isinstance(tried[2], Estimate)
    assert tried[2].value == 0.25
    assert isinstance(tried[4], Estimate)
    assert tried[4].value == 0.5
    times = figures(report, "Time per consultation")
    assert times["RANDOM n=3"]["wall, s"] == 20.0
    assert times["CHEMISTRY n=3"]["review, s"] == 4.0
    cost = figures(report, "Cost per consultation")["CHEMISTRY n=3"]
    assert cost["price known of"] == "3 of 4"
    assert cost["mean where known, USD"] == pytest.approx(0.02)
    ratio = figures(report, "Ratios to RANDOM and REMOTE at equal N")["CHEMISTRY n=3 ÷ RANDOM n=3"]
    assert ratio["wall time, ×"] == 0.5
    assert ratio["model time, ×"] == 1.0
    assert ratio["cost, ×"] is None
    clean = figures(report, "With and without retries and substitutes")["CHEMISTRY n=3"]
    assert (clean["undisturbed"], clean["disturbed"], clean["accuracy, undisturbed"]) == (3, 1, 1.0)


def test_weights_are_relative_to_uniform_and_capped_at_twenty() -> None:
    """By hand: weights 0.1 / 0.8, and 0.1 / 0.001 = 100 cut to 20."""
    rows = [
        row(probability=0.1),
        row(**arm("CHEMISTRY"), right=False, probability=0.8),
        row(**arm("CHEMISTRY"), vignette="v1", case=1, right=True, probability=0.001, explored=True),
    ]
    report = of("paper", rows)
    found = figures(report, "Plain and inverse-probability-weighted accuracy")["CHEMISTRY n=3"]
    assert found["as drawn"] == 0.5
    assert found["weighted"] == pytest.approx(20 / 20.125)
    assert found["at the cap"] == 1
    assert found["effective draws"] == pytest.approx(20.125**2 / (20**2 + 0.125**2))
    alone = of("paper", rows[1:])
    assert (
        figures(alone, "Plain and inverse-probability-weighted accuracy")["CHEMISTRY n=3"]["weighted"] is None
    )


def test_a_table_says_how_far_its_adjustment_reaches() -> None:
    """Each table of differences is adjusted for itself, and says so: its p are Holm's over its own rows."""
    report = of("safety", study(usual_arms(), vignettes=8, repeats=2))
    adjusted = [each for each in report.tables if each.title.startswith("Lists against each other")]
    assert len(adjusted) == 3
    for each in adjusted:
        assert "Holm-adjusted within this table" in each.note
        ps = {str(cells[0]): cells[1].p for cells in each.rows if isinstance(cells[1], Difference)}
        assert {str(cells[0]): cells[2] for cells in each.rows} == holm(ps)  # type: ignore[arg-type]


def test_no_winner_is_named_where_the_interval_holds_zero() -> None:
    """Equal arms: not distinguishable; far apart ones: higher, and the smallest difference is stated."""
    chance = random.Random(1)
    cases = [f"v{k}" for k in range(20)]
    coin = {key: [chance.random() < 0.5 for _ in range(3)] for key in cases}
    other = {key: [chance.random() < 0.5 for _ in range(3)] for key in cases}
    equal = of("paper", [*rights(arm("RANDOM"), coin), *rights(arm("CHEMISTRY"), other)])
    assert "not distinguishable" in equal.sentences[0]
    assert "The smallest difference that 20 vignettes" in equal.sentences[0]
    best = {key: [True] * 3 for key in cases}
    better = of("paper", [*rights(arm("RANDOM"), coin), *rights(arm("CHEMISTRY"), best)])
    assert ": higher." in better.sentences[0]
    assert "not distinguishable" not in better.sentences[0]


def test_all_but_the_primary_comparison_are_adjusted() -> None:
    """Holm over the others, p of the primary as it is; a raw p below 0.05 alone is no finding."""
    rows = study(usual_arms())
    arms = {one.name: one for one in Study.of(rows).arms}
    found = table(of("paper", rows), "Differences in accuracy").rows
    assert [str(cells[0]).endswith("(primary)") for cells in found].count(True) == 1
    raw: dict[str, float] = {}
    for cells in found:
        first, second = str(cells[0]).removesuffix(" (primary)").split(" − ")
        a, b = (
            {key: [float(bool(r.right)) for r in arms[name].rows if r.vignette == key] for key in _keys(rows)}
            for name in (first, second)
        )
        p = difference(a, b).p
        assert p is not None
        raw[str(cells[0])] = p
    primary = str(found[0][0])
    assert found[0][2] == raw.pop(primary)
    assert {str(cells[0]): cells[2] for cells in found[1:]} == holm(raw)
    slight = {f"v{k}": [1.0 if k < 7 else 0.0] for k in range(20)}
    none = {f"v{k}": [0.0 if k else 0.5] for k in range(20)}
    alone = compare([Pair("x", "y", slight, none)])[0]
    among = compare([Pair("x", "y", slight, none), *(Pair(f"n{k}", "y", none, none) for k in range(40))])[0]
    assert alone.verdict == "higher"
    assert among.difference.distinguishable
    assert among.verdict == "not distinguishable"


def _keys(rows: list[Any]) -> list[str]:
    return sorted({one.vignette for one in rows})


def test_repeats_of_a_vignette_are_resampled_together() -> None:
    """The same answers ten times over tell no more: the interval stays as wide."""
    once = {f"v{k}": [k % 2 == 0] for k in range(20)}
    often = {key: values * 10 for key, values in once.items()}
    few, many = (
        table(of("paper", rights(arm("RANDOM"), outcomes)), "Quality by arm").rows[0][1]
        for outcomes in (once, often)
    )
    assert few == many
    assert isinstance(few, Estimate)
    assert few.n == 20


def test_what_was_drawn_as_random_is_said() -> None:
    """CHEMISTRY without history is RANDOM, and the report says in how many consultations."""
    rows = rights({**arm("CHEMISTRY"), "drawn_as": "RANDOM"}, {"a": [True, False], "b": [True, True]})
    said = " ".join(of("paper", rows).sentences)
    assert "CHEMISTRY n=3 was drawn as RANDOM in 4 of 4 consultations" in said
    assert "no primary comparison" in said


def test_stability_tells_repeats_from_vignettes() -> None:
    """One of two vignettes flips: within 0.5 (root of the mean of 0.5 and 0), half of them flip."""
    found = figures(
        of("stability", rights(arm("RANDOM"), {"a": [True, False], "b": [True, True]})), "Spread of accuracy"
    )["RANDOM n=3"]
    assert found["SD over repeats"] == pytest.approx(math.sqrt((0.5 + 0.0) / 2))
    assert found["SD over vignettes"] == pytest.approx(0.25)
    assert found["share that flips"] == 0.5
    single = of("stability", rights(arm("RANDOM"), {"a": [True], "b": [True]}))
    assert "spread over repeats is not known" in single.sentences[0]


def test_disagreement_puts_each_consultation_in_one_stratum() -> None:
    """Distances 0, 0.25, 0.6 and 1; strata hold their lower end, the last its upper one; unknown apart."""
    rows = [
        row(vignette=f"v{k}", case=k, agreement=value) for k, value in enumerate((1.0, 0.75, 0.4, 0.0, None))
    ]
    report = of("disagreement", rows)
    assert [cells[1] for cells in table(report, "Strata by disagreement").rows] == [1, 1, 1, 1]
    assert "4 of 5 consultations" in report.sentences[0]
    assert any("Small strata" in sentence for sentence in report.sentences)


def test_calibration_without_a_calibrator_says_null() -> None:
    """No confidence: NULL is said, and the raw grade is shown for what it is."""
    report = of("calibration", [row(vignette=f"v{k}", grade=0.25, right=k == 0) for k in range(4)])
    assert "Confidence is NULL" in report.sentences[0]
    found = figures(report, "Calibration error and Brier score")
    assert set(found) == {"raw grade", "base rate"}
    assert found["raw grade"]["calibration error"] == pytest.approx(0.0)
    assert found["raw grade"]["Brier score"] == pytest.approx(0.25 * 0.75)


def test_calibration_of_a_confidence_is_held_against_grade_and_base_rate() -> None:
    """By hand: confidence 0.9 where right and 0.1 where not; the base rate of a half has Brier 0.25."""
    rows = [
        row(vignette=f"v{k}", case=k, grade=0.5, confidence=0.9 if k % 2 else 0.1, right=bool(k % 2))
        for k in range(40)
    ]
    report = of("calibration", rows)
    found = figures(report, "Calibration error and Brier score")
    assert found["confidence"]["Brier score"] == pytest.approx(0.01)
    assert found["confidence"]["calibration error"] == pytest.approx(0.1)
    assert found["base rate"]["Brier score"] == pytest.approx(0.25)
    assert any("confidence − base rate" in text and ": lower." in text for text in report.sentences)


def test_repeats_that_are_alike_are_no_proof_against_a_confidence() -> None:
    """Fifteen repeats of one outcome a vignette, drawn from the confidence itself: within its own noise."""
    chance = random.Random(4)
    rows = [
        row(vignette=f"v{k}", case=k, repeat=repeat, confidence=p, right=right)
        for k in range(20)
        for p in (chance.uniform(0.2, 0.9),)
        for right in (chance.random() < p,)
        for repeat in range(15)
    ]
    assert "within its own noise" in of("calibration", rows).sentences[0]


def test_size_and_families_are_compared_within_a_strategy() -> None:
    """Each size against the smallest one; mixed against same; without the pairs it says so."""
    arms = [arm("RANDOM", n) for n in (2, 4)] + [arm("RANDOM", 3, name) for name in ("same", "mixed")]
    rows = study(arms, vignettes=8, repeats=2)
    size = table(of("size", rows), "Each size minus the smallest of its strategy")
    assert [cells[0] for cells in size.rows] == ["RANDOM n=4 − RANDOM n=2"]
    mixed = table(of("homogeneous", rows), "Mixed minus same family")
    assert [cells[0] for cells in mixed.rows] == ["RANDOM n=3 mixed families − RANDOM n=3 same family"]
    plain = study([arm("RANDOM")], vignettes=3)
    assert "nothing to say about size" in of("size", plain).sentences[0]
    assert "not both run" in of("homogeneous", plain).sentences[0]


def test_subgroups_say_which_strata_are_small() -> None:
    """Age bands hold their lower end, an unknown age is a group of its own, all of them are small here."""
    rows = [row(vignette=f"v{k}", case=k, age=age) for k, age in enumerate((17.9, 18.0, 79.0, 80.0, None))]
    report = of("subgroups", rows)
    bands = [str(cells[0]).split(" (")[0] for cells in table(report, "By age band, years").rows]
    assert bands == ["under 18", "18–39", "65–79", "80 and over", "not told"]
    assert any("Small strata" in sentence and "18–39 (1)" in sentence for sentence in report.sentences)


def test_leakage_and_missing_consultations_come_first() -> None:
    """No figure is read before one has read why it does not count."""
    rows = study([arm("RANDOM")], vignettes=3)
    report = build(["paper"], rows, meta(rows, overlap=2, accepted=len(rows) + 1))[0]
    assert report.sentences[0].startswith("LEAKAGE")
    assert report.sentences[1].startswith("NOT WHOLE: 10 consultations were accepted")


def test_reports_are_found_by_name_and_are_plain_json() -> None:
    """`all` is every one of them; unknown names and empty evaluations are refused; JSON has no NaN."""
    rows = study(usual_arms(), vignettes=4, repeats=2)
    facts = meta(rows)
    built = build(names("all"), rows, facts)
    assert [report.name for report in built] == list(REPORTS)
    assert build(names("all"), rows[::-1], facts) == built
    told = json.loads(json.dumps(as_json(built, facts), allow_nan=False))
    assert told["evaluation"]["lost"] == 0
    assert told["reports"][0]["tables"][0]["rows"][0][1]["n"] == 4
    with pytest.raises(SettingsError, match="--report takes"):
        names("papers")
    with pytest.raises(SettingsError, match="nothing to report"):
        build(["paper"], [], facts)


def test_cells_are_written_with_interval_sign_and_dot_for_unknown() -> None:
    """None is no 0; differences carry their sign; a rounded −0 is 0."""
    assert shown(None, Column("x")) == "·"
    assert shown(Estimate(None, None, None, 0), Column("x")) == "·"
    assert shown(Estimate(0.5, 0.25, 0.75, 9), Column("x")) == "0.50 [0.25, 0.75]"
    assert shown(Difference(-0.104, -0.2, 0.001, 0.1, 9, 0.1), Column("x")) == "−0.10 [−0.20, 0.00]"
    assert shown(1234, Column("x")) == "1,234"
