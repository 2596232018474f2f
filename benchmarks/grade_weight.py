"""How much should the consensus grade decide about a drug? The weight γ of support, simulated.

Simulated throughout: (a) planted worlds, in which seats name each drug by their skill and what the drug is,
families share blind spots, and reviewers see an answer's true quality through noise, biases and their own
beliefs; (b) the simulated panel. Three seats (five in one world), no history, no safety: the list is every
drug with P(belongs) above one half, at γ = 0 the majority. Differences are paired by vignette.

    python benchmarks/grade_weight.py [CONSULTATIONS]        # 1,000 a world by default, of five seeds
"""

from __future__ import annotations

import math
import random
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from panel.answering import believe
from panel.case import read_case
from panel.generate import parts, vignettes
from panel.models import MODELS
from panel.reviewing import Shown, grade
from shared.measures import f1, jaccard, right
from shared.peer_grading import Seat, grade_peers
from shared.schemas import Gold, GoldItem
from shared.statistics import difference
from shared.support import support

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
SEEDS = 5


@dataclass(frozen=True)
class World:
    """How grades come about. Standard deviations are of grades on [0, 1]."""

    name: str
    noise: float = 0.12
    bias: float = 0.08
    believed: float = 0.4
    """Share of a grade that is likeness to the reviewer's own list rather than the true quality."""
    spread: float = 0.6
    """Standard deviation of skill between models, in logits."""
    seats: int = 3


WORLDS = (
    World("good reviewers", noise=0.08, believed=0.15),
    World("middling reviewers"),
    World("five seats, middling", seats=5),
    World("noisy, biased reviewers", noise=0.25, bias=0.2),
    World("reviewers that grade likeness", believed=0.9),
    World("grades of pure noise", noise=0.2, believed=1.0, spread=0.0),
)

Consulted = tuple[dict[int, frozenset[str]], dict[int, float], Gold]
"""Drugs named by seat, consensus grade by seat, gold."""


def planted(world: World, count: int, seed: int) -> Iterator[Consulted]:
    """Consultations of a world: nine models of three families, drawn without regard to family."""
    draw = random.Random(f"{world.name} {seed}")
    skill = [draw.gauss(0.8, world.spread) for _ in range(9)]
    bias = [draw.gauss(0, world.bias) for _ in range(9)]
    for _ in range(count):
        good = [f"good {k}" for k in range(draw.randint(1, 3))]
        bad = [f"bad {k}" for k in range(5)]
        gold = Gold(required=[GoldItem(any_of=[drug]) for drug in good], never=bad[:3])
        pull = {drug: draw.gauss(0, 0.8) for drug in good + bad}  # how easily it is seen, or mistaken
        blind = {(f, drug): draw.gauss(0, 0.8) for f in range(3) for drug in good + bad}
        models = draw.sample(range(9), world.seats)

        def names(
            m: int,
            drug: str,
            pull: Mapping[str, float] = pull,
            blind: Mapping[tuple[int, str], float] = blind,
        ) -> bool:
            lean = skill[m] if drug.startswith("good") else -1.2 - skill[m]
            return draw.random() < 1 / (1 + math.exp(-(lean + pull[drug] + blind[m % 3, drug])))

        named = {k: frozenset(d for d in good + bad if names(m, d)) for k, m in enumerate(models)}
        given = [
            (
                u,
                i,
                min(
                    max(
                        _graded(world, named, u, i, gold) + bias[models[u]] + draw.gauss(0, world.noise), 0.0
                    ),
                    1.0,
                ),
            )
            for u in named
            for i in named
            if u != i
        ]
        yield named, _consensus(given, {k: Seat(str(m), str(m % 3)) for k, m in enumerate(models)}), gold


def _graded(world: World, named: Mapping[int, frozenset[str]], u: int, i: int, gold: Gold) -> float:
    seen = (1 - world.believed) * f1(named[i], gold) + world.believed * jaccard(named[u], named[i])
    return 0.25 + 0.6 * seen


def panel(count: int, seed: int) -> Iterator[Consulted]:
    """Consultations of three random models of the simulated panel, graded by each other."""
    draw = random.Random(seed)
    for vignette in vignettes(count, seed):
        case = read_case(str(vignette["vignette"]))
        models = [MODELS[name] for name in draw.sample(sorted(MODELS), 3)]
        believed = [believe(model, case, seed) for model in models]
        shown = [Shown(b.decision, frozenset(d for d, _ in b.starts), frozenset(b.stops)) for b in believed]
        named = {k: frozenset(p for d, _ in b.starts for p in parts(d)) for k, b in enumerate(believed)}
        given = [
            (u, i, grade(models[u], case, shown[i], "", seed)[0]) for u in named for i in named if u != i
        ]
        seats = {k: Seat(model.name, model.family) for k, model in enumerate(models)}
        yield named, _consensus(given, seats), Gold.model_validate(vignette["gold"])


def _consensus(given: list[tuple[int, int, float]], seats: Mapping[int, Seat]) -> dict[int, float]:
    return {seat: item.grade for seat, item in grade_peers(given, seats, None).items.items()}


def measured(
    consultations: list[Consulted],
) -> tuple[dict[float, list[float]], dict[float, list[float]], float]:
    """By γ: accuracy (`list-1`) and F1 of each consultation; how far its best grade is above their mean."""
    accuracy: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    likeness: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    for named, grades, gold in consultations:
        models = dict.fromkeys(named, "unknown")
        for weight in WEIGHTS:
            found = support(named, models, grades, None, kind="medication/general", gamma=weight)
            kept = [drug for drug, p in found.items() if p > 0.5]
            accuracy[weight].append(float(right(kept, gold)))
            likeness[weight].append(f1(kept, gold))
    ahead = [max(g.values()) - statistics.fmean(g.values()) for _, g, _ in consultations]
    return accuracy, likeness, statistics.fmean(ahead)


def _gain(figures: Mapping[float, list[float]], weight: float) -> str:
    first, second = ({str(k): [x] for k, x in enumerate(figures[w])} for w in (weight, 0.0))
    found = difference(first, second)
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    print(f"Simulated: {count} consultations a world; gain over γ = 0, paired, 95 % interval.")
    gains: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    for world in (*WORLDS, None):
        found = [
            one
            for seed in range(SEEDS)
            for one in (planted(world, count // SEEDS, seed) if world else panel(count // SEEDS, seed))
        ]
        accuracy, likeness, ahead = measured(found)
        print(f"\n{world.name if world else 'simulated panel'} (best grade above the mean by {ahead:.2f})")
        print("   γ   accuracy  gain                        F1     gain")
        for weight in WEIGHTS:
            a, f = statistics.fmean(accuracy[weight]), statistics.fmean(likeness[weight])
            gains[weight].append(a - statistics.fmean(accuracy[0.0]))
            print(
                f"  {weight:3}  {a:.3f}     {_gain(accuracy, weight):26}  {f:.3f}  {_gain(likeness, weight)}",
                flush=True,
            )
    mean = {weight: statistics.fmean(over) for weight, over in gains.items()}
    print("\nover the worlds: mean gain in accuracy, and the worst world's")
    for weight, over in gains.items():
        print(f"  γ = {weight:3}: {mean[weight]:+.3f}, {min(over):+.3f}")
    best = max(WEIGHTS, key=lambda weight: mean[weight] + min(gains[weight]))
    print(
        f"default, by the largest sum of both (a loss where grades mislead counts like a gain): γ = {best:g}"
    )


if __name__ == "__main__":
    main()
