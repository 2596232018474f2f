"""How good each arm was: accuracy with its spread, what the council adds and takes, the final lists."""

from __future__ import annotations

from statistics import fmean

from producers.evaluation.reports.model import Column, Table
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

NO_INTERACTIONS = "not measured yet: interactions need the safety tables"
NOT_YET = "not measured yet"


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
    """The final list by other measures, with its size; interactions are not measured yet."""
    return Table(
        "Final lists",
        (
            Column("arm"),
            Column("drugs on the list"),
            Column("top drug right"),
            Column("Jaccard"),
            Column("precision"),
            Column("recall"),
            Column("DDI rate"),
        ),
        tuple(
            (
                arm.name,
                estimate(arm.rows, lambda row: row.list_size),
                estimate(arm.rows, lambda row: float(bool(row.top_hit))),
                estimate(arm.rows, lambda row: row.jaccard or 0.0),
                estimate(arm.rows, lambda row: row.precision or 0.0),
                estimate(arm.rows, lambda row: row.recall or 0.0),
                NOT_YET,
            )
            for arm in study.arms
        ),
        f"DDI rate (share of interacting pairs): {NO_INTERACTIONS}. Size: lists that there are.",
    )
