"""Report `homogeneous`: one family at the table against mixed families."""

from __future__ import annotations

from producers.evaluation.reports.comparisons import Compared, Pair, compare, forest, table_of
from producers.evaluation.reports.model import Column, Report, Table
from producers.evaluation.reports.study import (
    Study,
    accuracy,
    amplified,
    by_vignette,
    estimate,
    f1,
    rescued,
    variance,
)


def report(study: Study) -> Report:
    """Mixed minus same family, for each strategy and size that ran both ways."""
    compared = mixed_minus_same(study)
    arms = [arm for arm in study.ensembles if arm.families in ("same", "mixed")]
    if not compared:
        missing = "Same-family and mixed-family ensembles of one strategy and size were not both run."
        return Report("homogeneous", "Same family against mixed families", (missing,))
    return Report(
        "homogeneous",
        "Same family against mixed families",
        (*(one.sentence("accuracy") for one in compared), *study.drawn_as_random()),
        (
            Table(
                "Same and mixed families",
                (
                    Column("arm"),
                    Column("accuracy"),
                    Column("F1"),
                    Column("agreement of its seats"),
                    Column("consensus variance, 0…1", digits=4),
                    Column("amplified"),
                    Column("rescued"),
                ),
                tuple(
                    (
                        arm.name,
                        estimate(arm.rows, accuracy),
                        estimate(arm.rows, f1),
                        estimate(arm.rows, lambda row: row.agreement),
                        estimate(arm.rows, variance),
                        estimate(arm.rows, amplified),
                        estimate(arm.rows, rescued),
                    )
                    for arm in arms
                ),
                "Agreement: mean pairwise Jaccard of the seats' lists. High agreement within one family "
                "may be a shared error.",
            ),
            table_of("Mixed minus same family", compared, "accuracy"),
        ),
        (forest("Mixed minus same family", compared, "difference in accuracy (mixed − same)"),),
    )


def mixed_minus_same(study: Study) -> list[Compared]:
    """Accuracy of mixed minus same-family ensembles of one strategy and size; adjusted together."""
    pairs = [
        (mixed, same)
        for mixed in study.ensembles
        if mixed.families == "mixed" and (same := study.find(mixed.strategy, mixed.n, "same"))
    ]
    return compare(
        [Pair(a.name, b.name, by_vignette(a.rows, accuracy), by_vignette(b.rows, accuracy)) for a, b in pairs]
    )
