"""Report `subgroups`: accuracy by age band, sex and kind of task. Described, not tested."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from producers.evaluation.measured import Measured
from producers.evaluation.reports.model import Cell, Column, Intervals, Report, Table, points
from producers.evaluation.reports.study import SMALL, Study, accuracy, estimate, f1, vignettes

BANDS = ((18, "under 18"), (40, "18–39"), (65, "40–64"), (80, "65–79"))
OLDEST = "80 and over"
UNKNOWN = "not told"


def report(study: Study) -> Report:
    """A table for each of the three groupings: all ensembles together, then strategy by strategy."""
    rows = [row for arm in study.ensembles for row in arm.rows] or study.rows
    groupings: list[tuple[str, Callable[[Measured], str]]] = [
        ("age band, years", age_band),
        ("sex", lambda row: row.sex or UNKNOWN),
        ("kind of task", lambda row: row.kind),
    ]
    few = [
        f"{name} ({count})"
        for _, key in groupings
        for name, ours in strata(rows, key)
        if (count := vignettes(ours)) < SMALL
    ]
    sentences = [
        "Described, not tested: groups differ in their vignettes, and intervals side by side are no "
        "comparison.",
        "All ensembles are pooled; a vignette's answers by all arms are resampled together.",
    ]
    if few:
        sentences.append(
            f"Small strata, fewer than {SMALL} vignettes; little can be said of them: {', '.join(few)}."
        )
    return Report(
        "subgroups",
        "Subgroups",
        tuple(sentences),
        tuple(_table(name, rows, key) for name, key in groupings),
        tuple(
            Intervals(
                f"Accuracy by {name.split(',')[0]}",
                "accuracy (share right)",
                points([(_name(group, ours), estimate(ours, accuracy)) for group, ours in strata(rows, key)]),
            )
            for name, key in groupings
        ),
    )


def age_band(row: Measured) -> str:
    """Years in bands; bands hold their lower end."""
    if row.age is None:
        return UNKNOWN
    return next((name for below, name in BANDS if row.age < below), OLDEST)


def strata(rows: Sequence[Measured], key: Callable[[Measured], str]) -> list[tuple[str, list[Measured]]]:
    """Group → its rows, in reading order."""
    order = [name for _, name in BANDS] + [OLDEST]
    groups: dict[str, list[Measured]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return sorted(
        groups.items(), key=lambda it: (it[0] == UNKNOWN, order.index(it[0]) if it[0] in order else 0, it[0])
    )


def _name(group: str, rows: Sequence[Measured]) -> str:
    return f"{group} (small, {vignettes(rows)})" if vignettes(rows) < SMALL else group


def _table(title: str, rows: Sequence[Measured], key: Callable[[Measured], str]) -> Table:
    strategies = list(dict.fromkeys(row.strategy for row in rows))

    def cells(group: str, ours: list[Measured]) -> tuple[Cell, ...]:
        return (
            _name(group, ours),
            vignettes(ours),
            len(ours),
            estimate(ours, accuracy),
            estimate(ours, f1),
            *(estimate([row for row in ours if row.strategy == name], accuracy) for name in strategies),
        )

    return Table(
        f"By {title}",
        (
            Column(title.split(",")[0]),
            Column("vignettes"),
            Column("consultations"),
            Column("accuracy"),
            Column("F1"),
            *(Column(f"{name}: accuracy") for name in strategies),
        ),
        tuple(cells(group, ours) for group, ours in strata(rows, key)),
    )
