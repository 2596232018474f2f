"""Report `size`: does it matter how many sit (N = 2…7)?"""

from __future__ import annotations

from producers.evaluation.reports.comparisons import Compared, Pair, compare, forest, table_of
from producers.evaluation.reports.model import Column, Lines, Report, Table, points
from producers.evaluation.reports.study import (
    Arm,
    Study,
    Value,
    accuracy,
    amplified,
    by_vignette,
    estimate,
    f1,
    rescued,
    variance,
)


def report(study: Study) -> Report:
    """Each strategy over its sizes, and each size minus the smallest one of that strategy."""
    compared = against_smallest(study)
    return Report(
        "size",
        "Number of seats",
        findings(study, compared),
        (
            Table(
                "By number of seats: quality",
                (
                    Column("arm"),
                    Column("accuracy"),
                    Column("F1"),
                    Column("consensus variance, 0…1", digits=4),
                    Column("amplified"),
                    Column("rescued"),
                ),
                tuple(
                    (
                        arm.name,
                        *(
                            estimate(arm.rows, value)
                            for value in (accuracy, f1, variance, amplified, rescued)
                        ),
                    )
                    for arm in study.ensembles
                ),
            ),
            Table(
                "By number of seats: effort",
                (
                    Column("arm"),
                    Column("wall time", "s"),
                    Column("model time", "s"),
                    Column("cost", "USD", 5),
                ),
                tuple(
                    (
                        arm.name,
                        estimate(arm.rows, lambda row: row.wall_s),
                        estimate(arm.rows, lambda row: row.model_s),
                        estimate(arm.rows, lambda row: row.cost_usd),
                    )
                    for arm in study.ensembles
                ),
                "Cost where every price is known.",
            ),
            table_of("Each size minus the smallest of its strategy", compared, "accuracy"),
        ),
        (
            _lines(study, "Accuracy over N", "accuracy (share right)", accuracy),
            _lines(study, "Wall time over N", "mean wall time, s", lambda row: row.wall_s),
            forest("Size: differences in accuracy", compared, "difference in accuracy (larger − smallest)"),
        ),
    )


def curves(study: Study) -> dict[str, list[Arm]]:
    """Strategy (with its families, where they were restricted) → its arms by rising N."""
    found: dict[str, list[Arm]] = {}
    for arm in study.ensembles:
        name = arm.strategy + ("" if arm.families == "any" else f", {arm.families} families")
        found.setdefault(name, []).append(arm)
    return found


def against_smallest(study: Study) -> list[Compared]:
    """Accuracy of every size minus that of the smallest, strategy by strategy; adjusted together."""
    return compare(
        [
            Pair(arm.name, arms[0].name, by_vignette(arm.rows, accuracy), by_vignette(arms[0].rows, accuracy))
            for arms in curves(study).values()
            for arm in arms[1:]
        ]
    )


def findings(study: Study, compared: list[Compared]) -> tuple[str, ...]:
    """Which sizes differ, or that none can be told apart."""
    if len(study.sizes) < 2:
        sizes = ", ".join(map(str, study.sizes)) or "none"
        return (f"Sizes run: {sizes}. With fewer than two there is nothing to say about size.",)
    told = [one for one in compared if one.verdict in ("higher", "lower")]
    could = [one.difference.smallest for one in compared if one.difference.smallest is not None]
    reach = (
        f" The smallest differences that could be shown are ±{min(could):.2f} to ±{max(could):.2f}."
        if could
        else ""
    )
    if not told:
        return (f"No size is distinguishable from the smallest of its strategy in accuracy.{reach}",)
    return (*(one.sentence("accuracy") for one in told), *study.drawn_as_random())


def _lines(study: Study, title: str, axis: str, value: Value) -> Lines:
    return Lines(
        title,
        axis,
        "N, seats",
        tuple(
            (
                name,
                tuple(
                    (arm.n, point)
                    for arm in arms
                    for point in points([(arm.name, estimate(arm.rows, value))])
                ),
            )
            for name, arms in curves(study).items()
        ),
    )
