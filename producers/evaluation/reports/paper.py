"""Report `paper`: every strategy on all measures, its differences, its price, and the published numbers."""

from __future__ import annotations

from collections.abc import Sequence

from producers.evaluation.reports import expense, lists, published, quality, ratios, sensitivity
from producers.evaluation.reports.comparisons import Compared, arms_compared, forest, table_of
from producers.evaluation.reports.model import Intervals, Report, points
from producers.evaluation.reports.study import Study, accuracy, estimate


def report(study: Study) -> Report:
    """Accuracy, variance, failures, time and cost by arm; the primary comparison first."""
    compared = arms_compared(study)
    compared_lists = lists.compared(lists.pooled(study), lists.is_right)
    return Report(
        "paper",
        "Strategies compared",
        (
            *findings(compared),
            *study.drawn_as_random(),
        ),
        (
            quality.by_arm(study),
            table_of("Differences in accuracy", compared, "accuracy"),
            quality.council(study),
            quality.final_lists(study),
            quality.interactions(study),
            *expense.tables(study),
            ratios.table(study),
            lists.by_arm(study),
            table_of("Lists against each other, over all ensembles", compared_lists, "accuracy"),
            sensitivity.undisturbed_table(study),
            sensitivity.weighted_table(study),
            published.table(study),
        ),
        (
            Intervals(
                "Accuracy of each arm",
                "accuracy (share right, list-1)",
                points([(arm.name, estimate(arm.rows, accuracy)) for arm in study.arms]),
            ),
            forest("Differences in accuracy", compared, "difference in accuracy (first − second)"),
            expense.stages(study),
        ),
    )


def findings(compared: Sequence[Compared]) -> tuple[str, ...]:
    """The primary comparison in words, and what the others amount to."""
    primary = next((one for one in compared if one.pair.primary), None)
    rest = [one for one in compared if not one.pair.primary]
    told = [one for one in rest if one.verdict in ("higher", "lower")]
    first = (
        f"Primary comparison, fixed before: {primary.sentence('accuracy')}"
        if primary
        else "There is no primary comparison: CHEMISTRY and RANDOM at equal N were not both run."
    )
    if not rest:
        return (first,)
    if not told:
        return first, f"None of the {len(rest)} other comparisons of arms (Holm-adjusted) is distinguishable."
    words = "; ".join(f"{one.pair.name} is {one.verdict}" for one in told)
    return (
        first,
        f"Of the {len(rest)} other comparisons of arms (Holm-adjusted), {len(told)} can be told apart: "
        f"{words}.",
    )
