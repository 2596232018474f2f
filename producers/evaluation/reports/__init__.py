"""The named reports of an evaluation: findings in words, tables with intervals, and what plots draw.

rows (`Measured`) ─► study (arms, vignettes) ─► a report each ─► terminal, JSON, one HTML page
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from producers.evaluation.measured import Measured
from producers.evaluation.reports import (
    calibration,
    disagreement,
    homogeneous,
    paper,
    safety,
    size,
    stability,
    subgroups,
)
from producers.evaluation.reports.model import Report
from producers.evaluation.reports.study import Study
from producers.evaluation.spec import Meta
from shared.errors import SettingsError

REPORTS: Mapping[str, Callable[[Study], Report]] = {
    "paper": paper.report,
    "safety": safety.report,
    "size": size.report,
    "homogeneous": homogeneous.report,
    "disagreement": disagreement.report,
    "calibration": calibration.report,
    "stability": stability.report,
    "subgroups": subgroups.report,
}


def names(text: str) -> list[str]:
    """The reports that "paper,size" or "all" asks for. Raises `SettingsError` for an unknown name."""
    asked = [part.strip().lower() for part in text.split(",") if part.strip()]
    if asked == ["all"]:
        return list(REPORTS)
    unknown = [name for name in asked if name not in REPORTS]
    if unknown or not asked:
        raise SettingsError(f"--report takes all, or with commas some of: {', '.join(REPORTS)}")
    return list(dict.fromkeys(asked))


def build(names: Sequence[str], rows: Sequence[Measured], meta: Meta) -> list[Report]:
    """The reports of these names (keys of `REPORTS`), in the order asked; rows may have any order.

    A table without a row (nothing to compare) is left out. Where consultations of `meta` are missing in the
    rows, or the test was seen before, every report begins with that. Raises `SettingsError` without a row.
    """
    if not rows:
        raise SettingsError("there is nothing to report: no consultation of this evaluation has ended")
    study = Study.of(rows)
    caveats = tuple(warnings(meta, len(rows)))
    made = [REPORTS[name](study) for name in names]
    return [
        replace(
            report, sentences=caveats + report.sentences, tables=tuple(t for t in report.tables if t.rows)
        )
        for report in made
    ]


def warnings(meta: Meta, measured: int) -> list[str]:
    """What makes all figures doubtful: leakage, and consultations that are not among the measured ones."""
    found = []
    if meta.overlap:
        found.append(
            f"LEAKAGE: what chose or calibrated had seen {meta.overlap} of the {meta.vignettes} vignettes; "
            "no finding here counts."
        )
    if measured != meta.accepted or meta.lost:
        found.append(
            f"NOT WHOLE: {meta.accepted} consultations were accepted, {meta.ended} ended, {measured} are "
            "measured here."
        )
    return found


def as_json(reports: Sequence[Report], meta: Meta) -> dict[str, Any]:
    """Reports and what they rest on, as plain JSON. An unknown figure is null, never 0."""
    return {
        "evaluation": {
            **asdict(meta),
            "arms": list(meta.arms),
            "snapshots": dict(meta.snapshots),
            "lost": meta.lost,
        },
        "reports": [asdict(report) for report in reports],
    }
