"""The memory's bars: RMSE of consensus grades as a share of the plain mean's, by length of history.

    python benchmarks/reviewers_memory.py [SEEDS]

Simulated, on 0…10 as in the sources and divided by ten: true grades uniform in 1…9, each reviewer's noise sd
uniform in 0.1…2.5, biases uniform in ±1.5 or 0, grades clipped to the scale. `trio`: three models of three
families grade each other all the time. `pool`: trios drawn from nine models of three families, whose errors
on an item correlate at ρ within the family; the two of one family sit together in every tested consultation.
`pair`: one trio, two of one family, ρ; nothing tells what they share. Memory and mean see the same grades.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from shared.memory import Memory, RawReview, estimate
from shared.peer_grading import Seat, grade_peers

LENGTHS = (0, 1, 5, 20, 100)
TESTED = 10  # consultations per seed
KIND = "medication/general"


@dataclass
class World:
    """Reviewers with planted bias and noise; errors correlate at `rho` within a family."""

    rng: Generator
    families: list[str]
    biases: bool
    rho: float

    def __post_init__(self) -> None:
        n = len(self.families)
        self.sd = self.rng.uniform(0.1, 2.5, n)
        self.bias = self.rng.uniform(-1.5, 1.5, n) if self.biases else np.zeros(n)

    def consultation(self, trio: list[int]) -> tuple[list[float], list[tuple[int, int, float]]]:
        """True grades of the three answers (0…1) and the six grades (reviewer, item, grade)."""
        truth = self.rng.uniform(1, 9, 3)
        families = [self.families[u] for u in trio]
        own, shared = self.rng.standard_normal((2, 3, 3))  # by reviewer and item
        shared = shared[[families.index(f) for f in families]]  # one row for a family
        error = np.sqrt(1 - self.rho) * own + np.sqrt(self.rho) * shared
        given = truth + self.bias[trio][:, None] + self.sd[trio][:, None] * error
        given = given.clip(0, 10) / 10
        grades = [(u, i, float(given[u, i])) for u in range(3) for i in range(3) if u != i]
        return [float(t) for t in truth / 10], grades


def ratios(
    make: Callable[[Generator], World],
    draw: Callable[[Generator], list[int]],
    test: Callable[[Generator], list[int]],
    seeds: int,
    lengths: tuple[int, ...] = LENGTHS,
) -> dict[int, float]:
    """RMSE with memory over RMSE of the mean, over all seeds, by length of history."""
    squares = {length: [0.0, 0.0] for length in lengths}
    for seed in range(seeds):
        world = make(np.random.default_rng(seed))
        reviews: list[RawReview] = []
        memories: dict[int, Memory] = {}
        for number in range(max(lengths) + 1):
            if number in squares:
                memories[number] = estimate(reviews)
            trio = draw(world.rng)
            for place, item, grade in world.consultation(trio)[1]:
                name = str(trio[place])
                family = world.families[trio[place]]
                reviews.append(RawReview(f"{number}:{item}", name, family, KIND, grade, 0.0))
        for _ in range(TESTED):
            trio = test(world.rng)
            truth, grades = world.consultation(trio)
            seats = {k: Seat(str(u), world.families[u]) for k, u in enumerate(trio)}
            mean = grade_peers(grades, seats, None).items
            for length, memory in memories.items():
                got = grade_peers(grades, seats, memory.pool(KIND)).items
                for i, true in enumerate(truth):
                    squares[length][0] += (got[i].grade - true) ** 2
                    squares[length][1] += (mean[i].grade - true) ** 2
    return {length: float(np.sqrt(ours / plain)) for length, (ours, plain) in squares.items()}


def trio_world(biases: bool) -> Callable[[Generator], World]:
    """Three models of three families, independent errors."""
    return lambda rng: World(rng, ["a", "b", "c"], biases, 0.0)


def pair_world(rho: float) -> Callable[[Generator], World]:
    """Three models, two of one family."""
    return lambda rng: World(rng, ["a", "a", "b"], True, rho)


def pool_world(rho: float) -> Callable[[Generator], World]:
    """Nine models of three families."""
    return lambda rng: World(rng, ["a", "a", "a", "b", "b", "b", "c", "c", "c"], True, rho)


def everybody(_rng: Generator) -> list[int]:
    """The same three each time."""
    return [0, 1, 2]


def any_three(rng: Generator) -> list[int]:
    """Three of nine at random."""
    return [int(u) for u in rng.permutation(9)[:3]]


def two_of_one(rng: Generator) -> list[int]:
    """Two of one family and one of another."""
    first, second = (int(f) for f in rng.permutation(3)[:2])
    a, b = (int(u) for u in rng.permutation(3)[:2])
    return [3 * first + a, 3 * first + b, 3 * second + int(rng.integers(3))]


SCENARIOS = {
    "trio, biases": (trio_world(True), everybody, everybody),
    "trio, no biases": (trio_world(False), everybody, everybody),
    "pair, ρ 0.5": (pair_world(0.5), everybody, everybody),
    "pair, ρ 0.8": (pair_world(0.8), everybody, everybody),
    "pool, ρ 0": (pool_world(0.0), any_three, any_three),
    "pool, ρ 0.5": (pool_world(0.5), any_three, two_of_one),
    "pool, ρ 0.8": (pool_world(0.8), any_three, two_of_one),
}


def main() -> None:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    print(f"{seeds} seeds, {TESTED} consultations each; RMSE / RMSE of the plain mean (simulated)")
    print(f"{'':18}" + "".join(f"{length:>8}" for length in LENGTHS) + "   consultations of history")
    for name, (make, draw, test) in SCENARIOS.items():
        found = ratios(make, draw, test, seeds)
        print(f"{name:18}" + "".join(f"{found[length]:8.3f}" for length in LENGTHS), flush=True)


if __name__ == "__main__":
    main()
