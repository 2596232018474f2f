"""Report `disagreement`: what the council is worth where its seats agree, and where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from producers.evaluation.measured import Measured
from producers.evaluation.reports.comparisons import Compared, Pair, compare, forest, table_of
from producers.evaluation.reports.model import Cell, Column, Intervals, Report, Table, points
from producers.evaluation.reports.study import (
    SMALL,
    Study,
    accuracy,
    amplified,
    by_vignette,
    estimate,
    f1,
    rescued,
    variance,
    vignettes,
)

EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of mean pairwise Jaccard distance; fixed beforehand, the last stratum with its upper end."""


def report(study: Study) -> Report:
    """All ensembles by how far apart their seats' lists were."""
    rows = [row for arm in study.ensembles for row in arm.rows]
    strata = split(rows)
    unknown = len(rows) - sum(len(ours) for ours in strata.values())
    compared = council_minus_seats(strata)
    told = [one for one in compared if one.verdict in ("higher", "lower")]
    sentences = [
        f"{len(rows) - unknown} of {len(rows)} consultations of ensembles have a disagreement; {unknown} "
        "have none (fewer than two seats gave a list).",
        *(one.sentence("accuracy") for one in told),
        *small(strata),
    ]
    if not told:
        sentences.insert(
            1, "In no stratum is the council distinguishable from the mean of its own seats in accuracy."
        )
    return Report(
        "disagreement",
        "By disagreement of the seats",
        tuple(sentences),
        (
            Table(
                "Strata by disagreement",
                (
                    Column("disagreement"),
                    Column("consultations"),
                    Column("vignettes"),
                    Column("accuracy"),
                    Column("F1"),
                    Column("amplified"),
                    Column("rescued"),
                    Column("consensus variance, 0…1", digits=4),
                ),
                tuple(_row(name, ours) for name, ours in strata.items()),
                "Disagreement: mean pairwise Jaccard distance of the seats' lists, 0 (the same) to 1 "
                "(nothing in common). Vignettes differ between strata, so these are not paired.",
            ),
            table_of("Council minus the mean of its own seats", compared, "accuracy"),
        ),
        (
            Intervals(
                "Accuracy by disagreement of the seats",
                "accuracy (share right)",
                points([(name, estimate(ours, accuracy)) for name, ours in strata.items()]),
            ),
            forest("Council minus its own seats", compared, "difference in accuracy (council − seats)"),
        ),
    )


def split(rows: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Stratum → the rows whose disagreement is in it, [low, high)."""
    strata: dict[str, list[Measured]] = {f"{a:g}–{b:g}": [] for a, b in pairwise(EDGES)}
    names = list(strata)
    for row in rows:
        if row.agreement is not None:
            place = sum(1 - row.agreement >= edge for edge in EDGES[1:-1])
            strata[names[place]].append(row)
    return strata


def council_minus_seats(strata: dict[str, list[Measured]]) -> list[Compared]:
    """Within a stratum: the final list's accuracy minus the share of its own seats that were right."""
    pairs = []
    for name, rows in strata.items():
        ours = [row for row in rows if row.seats_answered]
        if ours:
            seats = by_vignette(ours, lambda row: row.seats_right / row.seats_answered)
            pairs.append(Pair(f"council at {name}", "its seats", by_vignette(ours, accuracy), seats))
    return compare(pairs)


def small(strata: dict[str, list[Measured]]) -> list[str]:
    """Says which strata are small."""
    few = [f"{name} ({vignettes(rows)})" for name, rows in strata.items() if vignettes(rows) < SMALL]
    return [f"Small strata, fewer than {SMALL} vignettes: {', '.join(few)}."] if few else []


def _row(name: str, rows: list[Measured]) -> tuple[Cell, ...]:
    return (
        name + (" (small)" if vignettes(rows) < SMALL else ""),
        len(rows),
        vignettes(rows),
        *(estimate(rows, value) for value in (accuracy, f1, amplified, rescued, variance)),
    )
