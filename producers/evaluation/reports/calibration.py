"""Report `calibration`: is a stated confidence a probability, and is it better than the raw grade?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from producers.evaluation.measured import Measured
from producers.evaluation.reports.comparisons import Compared, Pair, compare, table_of
from producers.evaluation.reports.model import Bin, Cell, Column, Reliability, Report, Table
from producers.evaluation.reports.study import Study, Value, accuracy, by_vignette, vignettes
from shared.calibration import within_noise
from shared.statistics import mean

BINS = 10
TITLE = "Calibration of the confidence"
COLUMNS = (
    Column("stated as"),
    Column("consultations"),
    Column("vignettes"),
    Column("calibration error", digits=3),
    Column("its own noise reaches", digits=3),
    Column("Brier score", digits=3),
)


def report(study: Study) -> Report:
    """Confidence, raw grade and base rate on the same consultations."""
    rows = [row for arm in study.ensembles for row in arm.rows if row.grade is not None]
    stated = [row for row in rows if row.confidence is not None]
    if not stated:
        null = (
            "Confidence is NULL: no calibrator was in force, so nothing here is a stated probability. The "
            "raw grade is no probability either; it is shown as if it were one."
        )
        return Report("calibration", TITLE, (null,), *_shown(rows, (("raw grade", _grade),), []))
    confidence: Value = lambda row: row.confidence  # noqa: E731
    compared = briers(stated)
    error, noise = _error(stated, confidence)
    return Report(
        "calibration",
        TITLE,
        (
            f"The calibration error of the confidence is {error:.3f} over {len(stated)} consultations; "
            f"outcomes drawn from the stated probabilities themselves reach {noise:.3f} (95th percentile): "
            f"{'within' if error <= noise else 'above'} its own noise. Ten bins of equal mass.",
            f"{len(rows) - len(stated)} further consultations have a grade without a confidence and are "
            "left out.",
            *(one.sentence("Brier score") + " Lower is better." for one in compared),
        ),
        *_shown(stated, (("confidence", confidence), ("raw grade", _grade)), compared),
    )


def briers(rows: Sequence[Measured]) -> list[Compared]:
    """Brier score of the confidence minus that of the raw grade, and of the base rate of these rows."""
    ours = _squares(rows, lambda row: row.confidence)
    return compare(
        [
            Pair("confidence", "raw grade", ours, _squares(rows, _grade)),
            Pair("confidence", "base rate", ours, _squares(rows, _base_rate(rows))),
        ]
    )


def bins(rows: Sequence[Measured], value: Value) -> tuple[Bin, ...]:
    """Up to ten bins of equal mass by rising probability; rows of equal probability are treated alike."""
    same: dict[float, list[float]] = defaultdict(list)
    for row in rows:
        same[value(row) or 0.0].append(accuracy(row))
    stated = np.array([p for p in sorted(same) for _ in same[p]])
    right = np.array([float(np.mean(same[p])) for p in sorted(same) for _ in same[p]])
    return tuple(
        Bin(float(stated[part].mean()), float(right[part].mean()), len(part))
        for part in np.array_split(np.arange(len(stated)), min(BINS, len(stated)))
    )


def _shown(
    rows: Sequence[Measured], series: tuple[tuple[str, Value], ...], compared: list[Compared]
) -> tuple[tuple[Table, ...], tuple[Reliability, ...]]:
    if not rows:
        return (), ()
    base: list[tuple[Cell, ...]] = [
        ("base rate", len(rows), vignettes(rows), None, None, mean(_squares(rows, _base_rate(rows))))
    ]
    summary = Table(
        "Calibration error and Brier score",
        COLUMNS,
        tuple([_row(name, rows, value) for name, value in series] + base),
        "Right: the final list, list-1. Base rate: the share of right ones among these very "
        "consultations, the best constant in hindsight. Lower is better in both.",
    )
    drawn = tuple((name, bins(rows, value)) for name, value in series)
    reliability = Table(
        "Reliability",
        (
            Column("bin"),
            *(Column(f"{name}: {what}") for name, _ in drawn for what in ("stated", "right", "count")),
        ),
        tuple(
            (
                str(place + 1),
                *(
                    cell
                    for _, each in drawn
                    for cell in (each[place].stated, each[place].right, each[place].count)
                ),
            )
            for place in range(len(drawn[0][1]))
        ),
        "Bins of equal mass; about 10 bins cannot show small errors at few consultations.",
    )
    against = (table_of("Brier score against the others", compared, "Brier score"),) if compared else ()
    plot = Reliability("Reliability diagram", "stated probability (bin mean)", drawn)
    return (summary, *against, reliability), (plot,)


def _row(name: str, rows: Sequence[Measured], value: Value) -> tuple[Cell, ...]:
    error, noise = _error(rows, value)
    return (name, len(rows), vignettes(rows), error, noise, mean(_squares(rows, value)))


def _error(rows: Sequence[Measured], value: Value) -> tuple[float, float]:
    stated, right = [value(row) or 0.0 for row in rows], [accuracy(row) for row in rows]
    return within_noise(stated, right, [row.vignette for row in rows], bins=BINS)


def _squares(rows: Sequence[Measured], value: Value) -> dict[str, list[float]]:
    return by_vignette(rows, lambda row: ((value(row) or 0.0) - accuracy(row)) ** 2)


def _grade(row: Measured) -> float | None:
    return row.grade


def _base_rate(rows: Sequence[Measured]) -> Value:
    share = sum(map(accuracy, rows)) / len(rows)
    return lambda _row: share
