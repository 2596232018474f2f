"""How good each arm was: accuracy with its spread, what the council adds and takes, the final lists."""

from __future__ import annotations

from statistics import fmean

from producers.evaluation.reports import lists
from producers.evaluation.reports.model import Cell, Column, Table
from producers.evaluation.reports.study import (
    Arm,
    Study,
    accuracy,
    amplified,
    by_vignette,
    estimate,
    f1,
    rescued,
    variance,
    variance_10,
)
from shared.statistics import Estimate, spread


def deviation(arm: Arm) -> Estimate:
    """Standard deviation over vignettes of the accuracy of each (mean of its repeats)."""
    groups = by_vignette(arm.rows, accuracy)
    return spread({key: [fmean(values)] for key, values in groups.items()})


def by_arm(study: Study) -> Table:
    """Accuracy with its spread, F1 and the consensus variance on both scales."""
    return Table(
        "Quality by arm",
        (
            Column("arm"),
            Column("accuracy"),
            Column("its SD over vignettes"),
            Column("F1"),
            Column("consensus variance, 0…1", digits=4),
            Column("consensus variance, 0…10"),
        ),
        tuple(
            (
                arm.name,
                estimate(arm.rows, accuracy),
                deviation(arm),
                estimate(arm.rows, f1),
                estimate(arm.rows, variance),
                estimate(arm.rows, variance_10),
            )
            for arm in study.arms
        ),
        "Accuracy: share of consultations whose final list is right by definition list-1. In brackets: 95 "
        "% bootstrap interval that resamples vignettes with all their repeats. One model alone has no "
        "consensus.",
    )


def council(study: Study) -> Table:
    """What the council adds to its seats, and takes from them."""
    return Table(
        "Error amplification and rescue",
        (Column("arm"), Column("amplified"), Column("rescued"), Column("accuracy of its seats")),
        tuple(
            (
                arm.name,
                estimate(arm.rows, amplified),
                estimate(arm.rows, rescued),
                estimate(
                    arm.rows, lambda row: row.seats_right / row.seats_answered if row.seats_answered else None
                ),
            )
            for arm in study.ensembles
        ),
        "Shares of all consultations. Amplified: a seat was right, the final list is not. Rescued: no "
        "seat was right, the final list is.",
    )


def final_lists(study: Study) -> Table:
    """The final list by other measures, with its size."""
    return Table(
        "Final lists",
        (
            Column("arm"),
            Column("drugs on the list"),
            Column("top drug right"),
            Column("Jaccard"),
            Column("precision"),
            Column("recall"),
        ),
        tuple(
            (
                arm.name,
                estimate(arm.rows, lambda row: row.list_size),
                estimate(arm.rows, lambda row: float(bool(row.top_hit))),
                estimate(arm.rows, lambda row: row.jaccard or 0.0),
                estimate(arm.rows, lambda row: row.precision or 0.0),
                estimate(arm.rows, lambda row: row.recall or 0.0),
            )
            for arm in study.arms
        ),
        "Size: lists that there are.",
    )


def interactions(study: Study) -> Table:
    """What interacts on the final lists and with what is taken, beside their size."""
    final = lists.named("refined")
    rows: list[tuple[Cell, ...]] = []
    for arm in study.arms:
        rates = estimate(arm.rows, lambda row: None if (one := final(row)) is None else one.rate)
        rows.append(
            (
                arm.name,
                estimate(arm.rows, lambda row: row.list_size),
                sum(one is not None and one.rate is not None for one in map(final, arm.rows)),
                rates,
                lists.pooled_rate(arm.rows, final),
                lists.per_drug(arm.rows, final, lambda one: one.within),
                lists.per_drug(arm.rows, final),
            )
        )
    return Table(
        "Interactions of the final lists",
        (
            Column("arm"),
            Column("drugs on the list"),
            Column("lists of two or more"),
            Column("DDI rate, mean", digits=3),
            Column("DDI rate, pooled", digits=3),
            Column("pairs per drug, within", digits=3),
            Column("with what is taken, too", digits=3),
        ),
        tuple(rows),
        "DDI rate: interacting pairs of a list over all its pairs; not known below two drugs. Pooled: over "
        "all pairs of all lists. Pairs per drug: interacting pairs over recommended drugs, first those "
        "within the list, then also those with a drug that is taken already. A smaller list interacts "
        "less: read it beside the size.",
    )
