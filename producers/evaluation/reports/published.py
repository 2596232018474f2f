"""The published numbers beside the same figures here. Other models and vignettes: orientation, no test."""

from __future__ import annotations

from producers.evaluation.measured import Measured
from producers.evaluation.reports.model import Cell, Column, Table
from producers.evaluation.reports.ratios import over
from producers.evaluation.reports.study import Arm, Study, Value, accuracy, estimate, variance, variance_10
from shared.statistics import Estimate

TITLE = "Published numbers, of other models and vignettes"
NOTE = (
    "Published: 20 synthetic vignettes, other models; what its accuracy counts is not said, nor the scale "
    "of its variances (1.05 can only be on 0…10: on 0…1 a variance is at most 0.25). “Here” is the "
    "setting of the primary comparison. Orientation, not a comparison."
)


def table(study: Study) -> Table:
    """A row a published figure."""
    chemistry, remote, random, local = (
        study.find(name, *study.usual) for name in ("CHEMISTRY", "REMOTE", "RANDOM", "LOCAL")
    )
    rows: tuple[tuple[Cell, ...], ...] = (
        ("CHEMISTRY: accuracy", "0.78", _mean(chemistry, accuracy)),
        ("REMOTE: accuracy", "0.84, on another page", _mean(remote, accuracy)),
        ("CHEMISTRY: consensus variance, 0…10", "0.05, scale not said", _mean(chemistry, variance_10)),
        ("CHEMISTRY: consensus variance, 0…1", "0.05, scale not said", _mean(chemistry, variance)),
        ("LOCAL: consensus variance, 0…10", "1.05", _mean(local, variance_10)),
        (
            "CHEMISTRY: share failed",
            "0",
            _mean(chemistry, lambda row: row.state == "failed"),
        ),
        ("CHEMISTRY: wall time, s", "11", _mean(chemistry, _wall)),
        ("REMOTE: wall time, s", "97", _mean(remote, _wall)),
        ("RANDOM ÷ CHEMISTRY: wall time", "nearly 9", _over(random, chemistry)),
        ("REMOTE ÷ CHEMISTRY: wall time", "8.8 (97 ÷ 11)", _over(remote, chemistry)),
        ("LOCAL ÷ CHEMISTRY: wall time", "49", _over(local, chemistry)),
    )
    n, families = study.usual
    return Table(
        TITLE,
        (Column("figure"), Column("published"), Column(f"here, N = {n}, {families} families")),
        rows,
        NOTE,
    )


def _wall(row: Measured) -> float | None:
    return row.wall_s


def _mean(arm: Arm | None, value: Value) -> Estimate | None:
    return estimate(arm.rows, value) if arm else None


def _over(arm: Arm | None, base: Arm | None) -> Estimate | None:
    return over(arm, base, _wall) if arm and base else None
