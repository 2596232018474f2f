"""How well is confidence calibrated on the simulated panel, and how often does a calibrator pass its test?

Generated vignettes (simulated, with gold), three random models each, graded by each other in this process;
the calibrator is fitted, chosen and tested on disjoint ones, 15 % of them tested (`shared.calibration`). One
that states the true probabilities passes the test of the error in 95 % of the seeds; what is fitted comes
near that as far as its form and its number of cases allow. No seed of these served to find the forms.

    python benchmarks/calibration.py [SEEDS]        # 12 by default, a minute each
"""

from __future__ import annotations

import random
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from panel.answering import believe
from panel.case import read_case
from panel.generate import parts, vignettes
from panel.models import MODELS
from panel.reviewing import Shown, grade
from shared.calibration import CHOOSE_SHARE, FIT_SHARE, MOST_ERROR, Case, Features, Report, fit
from shared.consensus import Grade, SeatAnswer, conclude_from
from shared.measures import right
from shared.memory import Memory
from shared.schemas import Gold

FIRST_SEED = 100
HELD_OUT = (400, 1_500, 3_000)
"""Consultations tested, about; from them the number of vignettes."""


def consulted(count: int, seed: int) -> list[Case]:
    """One consultation of three random models on each of so many generated vignettes."""
    draw = random.Random(seed)
    return [_consultation(vignette, draw.sample(sorted(MODELS), 3), k) for k, vignette in
            enumerate(vignettes(count, seed))]  # fmt: skip


def _consultation(vignette: dict[str, object], names: list[str], seed: int) -> Case:
    case = read_case(str(vignette["vignette"]))
    models = [MODELS[name] for name in names]
    believed = [believe(model, case, seed) for model in models]
    answers = [
        SeatAnswer(
            k,
            1,
            model.name,
            model.family,
            belief.decision,
            frozenset(part for drug, _ in belief.starts for part in parts(drug)),
            frozenset(),
        )
        for k, (model, belief) in enumerate(zip(models, believed, strict=True))
    ]
    shown = [Shown(b.decision, frozenset(d for d, _ in b.starts), frozenset(b.stops)) for b in believed]
    grades = [
        Grade(u, i, grade(models[u], case, shown[i], "", seed)[0])
        for u in range(3)
        for i in range(3)
        if u != i
    ]
    found = conclude_from(answers, grades, Memory(), kind="medication/general")
    reliability = statistics.fmean(m.reliability for m in found.reviewers.values())
    return Case(
        str(vignette["id"]),
        Features(found.grade, found.variance, found.agreement, reliability, 3),
        right(found.refined, Gold.model_validate(vignette["gold"])),
    )


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    sizes = {tested: round(tested / (1 - FIT_SHARE - CHOOSE_SHARE)) for tested in HELD_OUT}
    print(
        f"simulated panel, {seeds} seeds; error, its own noise (95th percentile), Brier scores on the tested"
    )
    print("vignettes  seed  form      tested  error  noise  Brier  raw grade  base rate  verdict")
    reports: dict[int, list[Report]] = {tested: [] for tested in HELD_OUT}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        everything = consulted(max(sizes.values()), seed)
        for tested, size in sizes.items():
            made = fit(everything[:size])
            assert made is not None
            r = made.report
            reports[tested].append(r)
            print(
                f"{size:9}  {seed:4}  {made.form:8}  {r.consultations:6}  {r.error:.3f}  {r.noise:.3f}  "
                f"{r.brier:.3f}  {r.brier_grade:9.3f}  {r.brier_base:9.3f}  {r.why_not or 'passed'}",
                flush=True,
            )
    print("held out  passed  error at most its noise  error at most 0.05  mean error  Brier / raw grade's")
    for tested, found in reports.items():
        within, small = sum(r.error <= r.noise for r in found), sum(r.error <= MOST_ERROR for r in found)
        error = statistics.fmean(r.error for r in found)
        ratio = statistics.fmean(r.brier / r.brier_grade for r in found)
        print(
            f"{tested:8}  {sum(r.passed for r in found):3}/{seeds:2}  {within:20}/{seeds:2}  "
            f"{small:15}/{seeds:2}  {error:10.3f}  {ratio:19.2f}"
        )


if __name__ == "__main__":
    main()
