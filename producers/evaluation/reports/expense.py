"""How consultations ended, what they took and what they cost: arm by arm."""

from __future__ import annotations

from collections import Counter
from statistics import fmean

from producers.evaluation.measured import Measured
from producers.evaluation.reports.model import Bars, Cell, Column, Table
from producers.evaluation.reports.study import Arm, Study, Value, estimate

TIMES: tuple[tuple[str, Value], ...] = (
    ("wall", lambda row: row.wall_s),
    ("generation", lambda row: row.generation_s),
    ("review", lambda row: row.review_s),
    ("model", lambda row: row.model_s),
)


def tables(study: Study) -> tuple[Table, ...]:
    """Ends with causes, substitutions and retries, time, cost."""
    return ends(study), repeats(study), times(study), costs(study)


def ends(study: Study) -> Table:
    """Every consultation in exactly one of three states, failures with their cause."""

    def row(arm: Arm) -> tuple[Cell, ...]:
        states = Counter(one.state for one in arm.rows)
        return (
            arm.name,
            len(arm.rows),
            states["completed"],
            states["needs_review"],
            states["failed"],
            _causes(arm, "failed"),
            _causes(arm, "needs_review"),
        )

    return Table(
        "How they ended",
        (
            Column("arm"),
            Column("all"),
            Column("completed"),
            Column("for review"),
            Column("failed"),
            Column("why failed"),
            Column("why for review"),
        ),
        tuple(map(row, study.arms)),
        "A consultation for review has a list and is measured like a completed one; one that failed has "
        "none and counts as not right.",
    )


def _causes(arm: Arm, state: str) -> str:
    causes = Counter(one.reason or "not told" for one in arm.rows if one.state == state)
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(causes.items())) or "–"


def repeats(study: Study) -> Table:
    """Substitutions and retries, in all and per consultation."""
    return Table(
        "Substitutions and retries",
        (
            Column("arm"),
            Column("substitutions"),
            Column("per consultation"),
            Column("retries"),
            Column("per consultation"),
        ),
        tuple(
            (
                arm.name,
                sum(row.substitutions for row in arm.rows),
                estimate(arm.rows, lambda row: row.substitutions),
                sum(row.retries for row in arm.rows),
                estimate(arm.rows, lambda row: row.retries),
            )
            for arm in study.arms
        ),
        "A retry is a call beyond one for each answer.",
    )


def times(study: Study) -> Table:
    """Wall time with its two parts, and model time (all calls added up), per consultation."""
    return Table(
        "Time per consultation",
        (Column("arm"), *(Column(name, "s") for name, _ in TIMES)),
        tuple((arm.name, *(estimate(arm.rows, value) for _, value in TIMES)) for arm in study.arms),
        "Wall time from dispatch to end = generation (until the last answer) + review (from there on). "
        "Model time adds up all calls, also those that ran side by side.",
    )


def costs(study: Study) -> Table:
    """Cost where it is known; how often it is not."""
    return Table(
        "Cost per consultation",
        (Column("arm"), Column("price known of"), Column("mean where known", "USD", 5)),
        tuple(
            (
                arm.name,
                f"{sum(row.cost_usd is not None for row in arm.rows)} of {len(arm.rows)}",
                estimate(arm.rows, cost),
            )
            for arm in study.arms
        ),
        "Unknown (·) is not 0: a consultation with one call without a price has no known cost.",
    )


def stages(study: Study) -> Bars:
    """Mean generation and review time of each arm, for a plot."""
    bars = []
    for arm in study.arms:
        known = [
            (row.generation_s, row.review_s)
            for row in arm.rows
            if row.generation_s is not None and row.review_s is not None
        ]
        if known:
            bars.append((arm.name, (fmean(a for a, _ in known), fmean(b for _, b in known))))
    return Bars(
        "Wall time by stage", "mean wall time per consultation, s", ("generation", "review"), tuple(bars)
    )


def cost(row: Measured) -> float | None:
    """USD; None where one price is not known."""
    return row.cost_usd
