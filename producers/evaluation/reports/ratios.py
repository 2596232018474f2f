"""Each arm's time and cost over those of RANDOM and of REMOTE with as many seats."""

from __future__ import annotations

from statistics import fmean

from producers.evaluation.reports.expense import cost
from producers.evaluation.reports.model import Column, Table
from producers.evaluation.reports.study import Arm, Study, Value, by_vignette
from shared.statistics import Estimate, ratio

BASES = ("RANDOM", "REMOTE")


def table(study: Study) -> Table:
    """Each arm's mean time and cost over that of RANDOM and of REMOTE with as many seats."""
    rows = [
        (
            f"{arm.name} ÷ {base.name}",
            over(arm, base, lambda row: row.wall_s),
            over(arm, base, lambda row: row.model_s),
            over(arm, base, cost) if _all_priced(arm) and _all_priced(base) else None,
        )
        for arm in study.ensembles
        for name in BASES
        if (base := study.find(name, arm.n, arm.families)) and base != arm
    ]
    return Table(
        "Ratios to RANDOM and REMOTE at equal N",
        (Column("ratio"), Column("wall time", "×"), Column("model time", "×"), Column("cost", "×")),
        tuple(rows),
        "Ratio of means over the vignettes that both have; below 1 is faster or cheaper. Cost only where "
        "every price is known. Descriptive: not adjusted for their number.",
    )


def over(arm: Arm, base: Arm, value: Value) -> Estimate:
    """Mean of `arm` over mean of `base`, both means over the vignettes that both have."""
    ours, theirs = by_vignette(arm.rows, value), by_vignette(base.rows, value)
    return ratio({key: [(fmean(ours[key]), fmean(theirs[key]))] for key in ours.keys() & theirs.keys()})


def _all_priced(arm: Arm) -> bool:
    return all(row.cost_usd is not None for row in arm.rows)
