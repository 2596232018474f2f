"""Report `safety`: do the grade and the refinement add anything, and what does the dial λ trade?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from producers.evaluation.listed import Listed
from producers.evaluation.measured import Measured
from producers.evaluation.reports import lists
from producers.evaluation.reports.comparisons import Compared, table_of
from producers.evaluation.reports.lists import Pick, estimate_of, named
from producers.evaluation.reports.model import Column, Curve, Point, Report, Table
from producers.evaluation.reports.study import Study

TITLE = "Safety and accuracy of the lists"
NONE_STORED = (
    "No consultation here was refined: highest-graded and majority list can be compared, interactions and "
    "the dial cannot."
)
BESIDE = ("screened", "majority", "highest_graded")
"""Lists that are marked beside the curve."""


def report(study: Study) -> Report:
    """The lists against each other, and the curve over λ."""
    rows = lists.pooled(study)
    right, f1, size = (lists.compared(rows, m) for m in (lists.is_right, lists.f1_of, lists.size_of))
    dials = sorted({dial for row in rows for dial in row.curve})
    return Report(
        "safety",
        TITLE,
        (*findings(rows, f1), *(traded(rows, dials) if dials else (NONE_STORED,))),
        (
            lists.side_by_side(rows),
            table_of("Lists against each other: accuracy", right, "accuracy"),
            table_of("Lists against each other: F1", f1, "F1"),
            table_of("Lists against each other: drugs on the list", size, "drugs"),
            lists.fewer_table(rows),
            *([curve_table(rows, dials)] if dials else []),
        ),
        tuple(
            _curve(rows, dials, name, measure)
            for name, measure in (("F1", lists.f1_of), ("accuracy", lists.is_right))
            if dials
        ),
    )


def findings(rows: Sequence[Measured], f1: Sequence[Compared]) -> list[str]:
    """Plainly: what the refinement adds to the screened majority and the highest grade, and what γ adds."""
    by_name = {(one.pair.first, one.pair.second): one for one in f1}
    said = []
    for first, second, what in (
        ("refined", "screened", "The refinement over the screened majority"),
        ("refined", "highest_graded", "The refinement over the highest-graded answer"),
        ("refined", "ungraded", "The grade in the support of drugs (γ against γ = 0)"),
    ):
        good = by_name[lists.WORDS[first], lists.WORDS[second]]
        safe = lists.fewer(rows, first, second)
        said.append(f"{what}: {verdict(good, safe)} {good.sentence('F1')} {safe.sentence}")
    return said


def verdict(good: Compared, safe: lists.Fewer) -> str:
    """What a list adds to the other, in a sentence."""
    if good.difference.low is None and safe.finding == lists.UNTOLD:
        return "it cannot be told what it adds."
    gains = [f"{good.verdict} F1"] if good.verdict in ("higher", "lower") else []
    gains += [f"{safe.finding} interacting pairs"] if safe.finding in (lists.FEWER, lists.MORE) else []
    return f"it brings {' and '.join(gains)}." if gains else "it adds nothing that can be told here."


def traded(rows: Sequence[Measured], dials: Sequence[float]) -> list[str]:
    """The ends of the curve."""
    ends = [
        f"λ = {dial:g}: F1 {_value(rows, dial, lists.f1_of):.3f}, "
        f"severity per list {_value(rows, dial, lists.severity_of):.3f}"
        for dial in (dials[0], dials[-1])
    ]
    return [
        f"The dial from end to end: {'; '.join(ends)}. Each point refines the same stored evidence again."
    ]


def at(dial: float) -> Pick:
    """The list as refined with this λ."""
    return lambda row: row.curve.get(dial)


def curve_table(rows: Sequence[Measured], dials: Sequence[float]) -> Table:
    """What each λ gives, with intervals."""
    return Table(
        "The safety–accuracy curve over λ",
        (Column("λ"), *lists.FIGURES),
        tuple(lists.figures(f"{dial:g}", rows, at(dial)) for dial in dials),
        "The other dials and the support are as they were stored. " + lists.NOTE,
    )


def _curve(
    rows: Sequence[Measured], dials: Sequence[float], name: str, measure: Callable[[Listed], float | None]
) -> Curve:
    def point(pick: Pick, label: str) -> tuple[float, Point]:
        height, severity = estimate_of(rows, pick, measure), estimate_of(rows, pick, lists.severity_of)
        return severity.value or 0.0, Point(label, height.value or 0.0, height.low, height.high)

    line = ("refined, by λ", tuple(point(at(dial), f"{dial:g}") for dial in dials))
    beside = (
        (lists.WORDS[other], (point(named(other), lists.WORDS[other]),))
        for other in BESIDE
        if estimate_of(rows, named(other), lists.severity_of).value is not None
    )
    return Curve(
        f"{name} against severity over λ",
        f"{name}",
        "summed severity of interactions per list",
        (line, *beside),
    )


def _value(rows: Sequence[Measured], dial: float, measure: Callable[[Listed], float | None]) -> float:
    return estimate_of(rows, at(dial), measure).value or 0.0
