"""Does CHEMISTRY help where it can, and is it silent where it cannot? Simulated worlds of known truth.

    python benchmarks/worlds.py [SEEDS] [WORLD …]

A world: models in families, cases in classes, P(a model is right on a class). A history: so many ensembles of
random members, each with who was right. From its sums alone effects are learned and ensembles chosen, by
default dials. Each chosen set's true P(majority right) is known: printed is CHEMISTRY minus PERFORMANCE (top
N by shrunk mean), paired by seed, with its standard error and lower 95 % bound, beside chance and the best
possible. The first two worlds are the design's; nothing here reads a strategy's settings.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from shared.chemistry.aggregates import Aggregates, ModelSums, PairSums
from shared.chemistry.effects import learn
from shared.chemistry.snapshot import Learned
from shared.choosing import Dials, choose
from shared.selection import Candidate

Floats = npt.NDArray[np.float64]
Truth = tuple[Floats, list[str]]  # P(right) by model and class, families

LENGTHS = (300, 1000)


@dataclass(frozen=True)
class World:
    """How a world is made from a generator, and how many sit."""

    make: Callable[[np.random.Generator], Truth]
    n: int = 3


def _families(sizes: list[int]) -> list[str]:
    return [f"family-{k}" for k, size in enumerate(sizes) for _ in range(size)]


def different_skills(rng: np.random.Generator) -> Truth:
    """Three families of four, one a little better; skills far apart; blind on some of 8 classes."""
    family = np.repeat([0, 1, 2], 4)
    skill = rng.uniform(0.55, 0.85, 12) + 0.08 * (family == 0)
    blind = rng.random((3, 8)) < 0.35
    return np.clip(skill[:, None] - 0.5 * blind[family], 0.03, 0.97), _families([4, 4, 4])


def shared_blind_spots(rng: np.random.Generator, sizes: tuple[int, ...] = (3, 3, 3, 3)) -> Truth:
    """Skills close together; each family is blind on 3 of 10 classes."""
    blind = np.zeros((len(sizes), 10), dtype=bool)
    for row in blind:
        row[rng.choice(10, 3, replace=False)] = True
    right = np.where(np.repeat(blind, sizes, axis=0), 0.08, 0.95)
    right -= rng.uniform(0, 0.05, sum(sizes))[:, None]
    right[:3] += 0.02
    return np.clip(right, 0.02, 0.99), _families(list(sizes))


def hidden_groups(rng: np.random.Generator) -> Truth:
    """Shared blind spots whose groups have nothing to do with the declared families."""
    right, family = shared_blind_spots(rng)
    return right[rng.permutation(12)], family


def no_families(rng: np.random.Generator) -> Truth:
    """Shared blind spots of four groups, and every model declared a family of its own."""
    return shared_blind_spots(rng)[0], _families([1] * 12)


def one_family(rng: np.random.Generator) -> Truth:
    """Every model blind on some classes of its own, all declared one family."""
    skill = rng.uniform(0.7, 0.95, 12)
    return np.clip(skill[:, None] - 0.6 * (rng.random((12, 8)) < 0.25), 0.03, 0.97), _families([12])


def independent(rng: np.random.Generator) -> Truth:
    """One class: nobody errs together; skills moderately apart."""
    return rng.uniform(0.6, 0.8, 12)[:, None], _families([3, 3, 3, 3])


def mixed_sizes(rng: np.random.Generator) -> Truth:
    """Shared blind spots in families of 6, 3, 2 and 1."""
    return shared_blind_spots(rng, (6, 3, 2, 1))


WORLDS = {
    "shared_blind_spots": World(shared_blind_spots),
    "different_skills": World(different_skills),
    "hidden_groups": World(hidden_groups),
    "no_families": World(no_families),
    "one_family": World(one_family),
    "independent": World(independent),
    "mixed_sizes": World(mixed_sizes),
    "shared_blind_spots, N = 5": World(shared_blind_spots, 5),
    "different_skills, N = 5": World(different_skills, 5),
}


def true_values(right: Floats, subsets: npt.NDArray[np.int_]) -> Floats:
    """P(majority right) of each subset: errors are independent given the class, classes equally frequent."""
    n = subsets.shape[1]
    pmf = np.zeros((len(subsets), right.shape[1], n + 1))
    pmf[..., 0] = 1
    for k in range(n):
        p = right[subsets[:, k]][..., None]
        pmf[..., 1:] = pmf[..., 1:] * (1 - p) + pmf[..., :-1] * p
        pmf[..., :1] *= 1 - p
    return np.asarray(pmf[..., n // 2 + 1 :].sum(axis=-1).mean(axis=-1))


def history(rng: np.random.Generator, right: Floats, family: list[str], n: int, length: int) -> Aggregates:
    """The sums of a history of random ensembles of n."""
    models, classes = right.shape
    subsets = np.array(list(combinations(range(models), n)))
    sat = subsets[rng.integers(len(subsets), size=length)]
    of = rng.integers(classes, size=length)
    was_right = rng.random((length, n)) < right[sat, of[:, None]]
    seat = np.zeros((length, models))
    wrong = np.zeros((length, models))
    np.put_along_axis(seat, sat, 1.0, axis=1)
    np.put_along_axis(wrong, sat, (~was_right).astype(float), axis=1)
    name = [f"model-{k:02}" for k in range(models)]
    runs, right_sum = seat.sum(axis=0), (seat - wrong).sum(axis=0)
    model_sums = [
        ModelSums("case", name[k], family[k], runs[k], 0, 0, 0, runs[k], right_sum[k], 0, 0, 0, 0, runs[k])
        for k in range(models)
        if runs[k]
    ]
    together, wrong_a, wrong_both = seat.T @ seat, wrong.T @ seat, wrong.T @ wrong
    pair_sums = [
        PairSums("case", 0, name[a], name[b], together[a, b], wrong_a[a, b], wrong_a[b, a], wrong_both[a, b])
        for a, b in combinations(range(models), 2)
        if together[a, b]
    ]
    return Aggregates(model_sums, pair_sums, [], length * n, "")


@dataclass(frozen=True)
class Outcome:
    """True values in one world, and what was learned."""

    chemistry: float
    performance: float
    best: float
    chance: float
    promised: float
    learned: Learned


def play(world: World, seed: int, length: int) -> Outcome:
    """One world, one history, both strategies' choices at equal prices."""
    rng = np.random.default_rng(seed)
    right, family = world.make(rng)
    learned = learn(history(rng, right, family, world.n, length)).parents["case"]
    subsets = np.array(list(combinations(range(len(right)), world.n)))
    value = true_values(right, subsets)
    row = {tuple(f"model-{k:02}" for k in s): v for s, v in zip(subsets, value.tolist(), strict=True)}
    candidates = [Candidate(f"model-{k:02}", f, "local", True) for k, f in enumerate(family)]
    free = {c.name: 0.0 for c in candidates}
    chemistry = choose("CHEMISTRY", world.n, candidates, learned, Dials(), free)
    performance = choose("PERFORMANCE", world.n, candidates, learned, Dials(), free)
    assert chemistry is not None
    assert performance is not None
    return Outcome(
        row[chemistry.models],
        row[performance.models],
        float(value.max()),
        float(value.mean()),
        chemistry.value,
        learned,
    )


def main() -> None:
    """Print a line for each world and length of history."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    asked = sys.argv[2:] or list(WORLDS)
    print(f"simulated worlds, seeds 0…{seeds - 1}; true P(majority right); gain = CHEMISTRY - PERFORMANCE")
    print(f"{'world':28}{'history':>8}{'PERF.':>8}{'CHEM.':>8}{'best':>8}{'chance':>8}", end="")
    print(f"{'gain':>9}{'se':>8}{'lower':>9}{'promised - true':>17}")
    for name in asked:
        for length in LENGTHS:
            got = [play(WORLDS[name], seed, length) for seed in range(seeds)]
            gain = np.array([o.chemistry - o.performance for o in got])
            se = float(gain.std(ddof=1)) / seeds**0.5
            print(f"{name:28}{length:8}", end="")
            for what in ("performance", "chemistry", "best", "chance"):
                print(f"{np.mean([getattr(o, what) for o in got]):8.4f}", end="")
            over = np.mean([o.promised - o.chemistry for o in got])
            print(f"{gain.mean():+9.4f}{se:8.4f}{gain.mean() - 1.96 * se:+9.4f}{over:+17.4f}", flush=True)


if __name__ == "__main__":
    main()
