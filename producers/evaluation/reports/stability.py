"""Report `stability`: how much of the spread is chance (the same vignette again), how much the vignette."""

from __future__ import annotations

from statistics import variance

from producers.evaluation.reports.model import Column, Intervals, Report, Table, points
from producers.evaluation.reports.quality import deviation
from producers.evaluation.reports.study import Arm, Study, Value, accuracy, by_vignette
from shared.statistics import Estimate, mean

Repeats = tuple[float, ...]


def report(study: Study) -> Report:
    """Spread over repeats of one vignette beside the spread over vignettes, for each arm."""
    repeated = any(
        len(values) > 1 for arm in study.arms for values in by_vignette(arm.rows, accuracy).values()
    )
    sentences = [
        "Every vignette was answered several times by each arm; the repeat's number enters the seeds."
        if repeated
        else "No arm answered a vignette more than once: the spread over repeats is not known.",
        *(_finding(arm) for arm in study.arms if repeated),
    ]
    return Report(
        "stability",
        "Stability over repeats",
        tuple(sentences),
        (
            Table(
                "Spread of accuracy",
                (
                    Column("arm"),
                    Column("SD over repeats"),
                    Column("SD over vignettes"),
                    Column("share that flips"),
                    Column("vignettes repeated"),
                ),
                tuple(
                    (
                        arm.name,
                        within(arm, accuracy),
                        deviation(arm),
                        flips(arm),
                        len(_repeated(arm, accuracy)),
                    )
                    for arm in study.arms
                ),
                "Over repeats: root of the mean variance among the repeats of one vignette. Over "
                "vignettes: of each vignette's mean, which holds some of the former. Flips: right in some "
                "repeats, not in others.",
            ),
            Table(
                "Spread of other figures over repeats of one vignette",
                (Column("arm"), Column("F1"), Column("grade"), Column("wall time", "s")),
                tuple(
                    (
                        arm.name,
                        within(arm, lambda row: row.f1 or 0.0),
                        within(arm, lambda row: row.grade),
                        within(arm, lambda row: row.wall_s),
                    )
                    for arm in study.arms
                ),
                "Standard deviations over repeats.",
            ),
        ),
        (
            Intervals(
                "Vignettes whose answer flips between repeats",
                "share of repeated vignettes",
                points([(arm.name, flips(arm)) for arm in study.arms]),
            ),
        ),
    )


def within(arm: Arm, value: Value) -> Estimate:
    """Standard deviation over repeats: root of the mean over vignettes of their repeats' variance (n − 1)."""
    found = mean({key: [variance(values)] for key, values in _repeated(arm, value).items()})
    value_, low, high = (None if it is None else it**0.5 for it in (found.value, found.low, found.high))
    return Estimate(value_, low, high, found.n)


def flips(arm: Arm) -> Estimate:
    """Share of repeated vignettes that are right in some repeats and not in others."""
    repeated = _repeated(arm, accuracy)
    return mean({key: [float(len(set(values)) > 1)] for key, values in repeated.items()})


def _repeated(arm: Arm, value: Value) -> dict[str, Repeats]:
    return {key: tuple(values) for key, values in by_vignette(arm.rows, value).items() if len(values) > 1}


def _finding(arm: Arm) -> str:
    share = flips(arm)
    if share.value is None:
        return f"{arm.name}: no vignette was repeated."
    return (
        f"{arm.name}: {round(share.value * share.n)} of {share.n} vignettes are right in some repeats only."
    )
