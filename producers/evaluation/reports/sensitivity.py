"""Does a finding hang on how it was counted? Draws reweighted, undisturbed ones alone."""

from __future__ import annotations

from statistics import median

from producers.evaluation.measured import Measured
from producers.evaluation.reports.model import Cell, Column, Table
from producers.evaluation.reports.study import (
    LEARNED,
    Arm,
    Study,
    accuracy,
    disturbed,
    estimate,
)
from shared.statistics import Estimate, ratio

CAP = 20.0


def uniform_probability(study: Study, arm: Arm) -> float | None:
    """Probability of one ensemble in a uniform draw of this size: as RANDOM stored it beside this arm."""
    base = study.find("RANDOM", arm.n, arm.families)
    known = [row.probability for row in base.rows if row.probability] if base else []
    return median(known) if known else None


def weight(row: Measured, uniform: float) -> float:
    """How much more often a uniform draw makes this one, capped at 20. `row.probability` must be known."""
    return min(CAP, uniform / row.probability) if row.probability else 0.0


def reweighted(arm: Arm, uniform: float) -> Estimate:
    """Accuracy that uniform draws would have, estimated from the draws of a learned strategy."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for row in arm.rows:
        if row.probability:
            each = weight(row, uniform)
            groups.setdefault(row.vignette, []).append((each * accuracy(row), each))
    return ratio(groups)


def weighted_table(study: Study) -> Table:
    """Plain and inverse-probability-weighted accuracy of what was learned, and how far the weights reach."""
    rows: list[tuple[Cell, ...]] = []
    for arm in study.ensembles:
        if arm.strategy not in LEARNED:
            continue
        uniform = uniform_probability(study, arm)
        weights = [weight(row, uniform) for row in arm.rows if row.probability] if uniform else []
        rows.append(
            (
                arm.name,
                estimate(arm.rows, accuracy),
                reweighted(arm, uniform) if uniform else None,
                sum(weights) ** 2 / sum(each**2 for each in weights) if weights else None,
                sum(each >= CAP for each in weights) if weights else None,
                sum(row.explored for row in arm.rows),
                sum(row.probability is None for row in arm.rows),
            )
        )
    return Table(
        "Plain and inverse-probability-weighted accuracy",
        (
            Column("arm"),
            Column("as drawn"),
            Column("weighted"),
            Column("effective draws", digits=1),
            Column("at the cap"),
            Column("explored"),
            Column("probability unknown"),
        ),
        tuple(rows),
        "Weights are 1 / (probability of the draw) relative to uniform draws, capped at 20: what random "
        "ensembles would have reached, told from chosen ones. It rests on the few effective draws; a dot "
        "where RANDOM with as many seats was not run beside it.",
    )


def undisturbed_table(study: Study) -> Table:
    """Accuracy over all, and over those without retries or substitutes."""
    return Table(
        "With and without retries and substitutes",
        (
            Column("arm"),
            Column("accuracy, all"),
            Column("accuracy, undisturbed"),
            Column("undisturbed"),
            Column("disturbed"),
        ),
        tuple(
            (
                arm.name,
                estimate(arm.rows, accuracy),
                estimate((row for row in arm.rows if not disturbed(row)), accuracy),
                sum(not disturbed(row) for row in arm.rows),
                sum(map(disturbed, arm.rows)),
            )
            for arm in study.arms
        ),
        "Undisturbed consultations needed neither a retry nor a substitute. They are no random sample: "
        "hard or unlucky ones are left out.",
    )
