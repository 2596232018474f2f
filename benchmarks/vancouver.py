"""The reference form over arrays against a plain loop over messages: seconds and their ratio.

    python benchmarks/vancouver.py [REVIEWERS] [REVIEWS_EACH]

Simulated graph: as many items as reviewers, each reviewer grades so many items, 20 rounds. Both in one run on
one core; the results must agree to 1e-6. The bar is a ratio of 100 at 1,000 × 1,000 with 10 reviews each.
"""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict

import numpy as np

from shared.vancouver import PRECISION, ROUNDS, START_VARIANCE, vancouver

Edge = tuple[int, int]
Message = tuple[float, float]


def graph(n: int, degree: int, seed: int = 1) -> list[tuple[int, int, float]]:
    """Grades (reviewer, item, grade in [0, 1]): true grade, own noise, clipped."""
    rng = np.random.default_rng(seed)
    truth, sd = rng.uniform(0.1, 0.9, n), rng.uniform(0.01, 0.25, n)
    items = np.stack([rng.permutation(n) for _ in range(degree)])
    given = np.clip(truth[items] + sd * rng.standard_normal((degree, n)), 0, 1)
    return [(u, int(items[k, u]), float(given[k, u])) for u in range(n) for k in range(degree)]


def weighted(held: list[Message]) -> Message:
    """Mean of messages (grade, variance) and its variance."""
    weights = [1 / (PRECISION + v) for _, v in held]
    total = sum(weights)
    grade = sum(w * g for w, (g, _) in zip(weights, held, strict=True)) / total
    return grade, sum(w**2 * v for w, (_, v) in zip(weights, held, strict=True)) / total**2


def by_loops(
    grades: list[tuple[int, int, float]], *, exclusive: bool, debias: bool
) -> dict[int, tuple[float, float]]:
    """The same algorithm, one message at a time: grade and variance by item."""
    given = {(u, i): g for u, i, g in grades}
    of_item, of_reviewer = defaultdict(list), defaultdict(list)
    for u, i in given:
        of_item[i].append(u)
        of_reviewer[u].append(i)
    to_items: dict[Edge, Message] = {edge: (g, START_VARIANCE) for edge, g in given.items()}
    for _ in range(ROUNDS):
        to_reviewers: dict[Edge, Message] = {}
        for u, i in given:
            others = [v for v in of_item[i] if v != u] if exclusive and len(of_item[i]) > 1 else of_item[i]
            to_reviewers[u, i] = weighted([to_items[v, i] for v in others])
        for u, i in given:
            held = of_reviewer[u]
            others = [j for j in held if j != i] if exclusive and len(held) > 1 else held
            weights = [1 / (PRECISION + to_reviewers[u, j][1]) for j in others]
            off = [given[u, j] - to_reviewers[u, j][0] for j in others]
            total = sum(weights)
            bias = sum(w * d for w, d in zip(weights, off, strict=True)) / total if debias else 0.0
            variance = sum(w * (d - bias) ** 2 for w, d in zip(weights, off, strict=True)) / total
            to_items[u, i] = (given[u, i] - bias, variance)
    return {i: weighted([to_items[u, i] for u in reviewers]) for i, reviewers in of_item.items()}


def main() -> None:
    """Print a line for each setting."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    degree = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    grades = graph(n, degree)
    print(f"{n} reviewers, {n} items, {degree} reviews each, {ROUNDS} rounds; seconds (arrays: best of 5)")
    for exclusive in (False, True):
        for debias in (False, True):
            times = []
            for _ in range(5):
                start = time.perf_counter()
                found = vancouver(grades, exclusive=exclusive, debias=debias)
                times.append(time.perf_counter() - start)
            start = time.perf_counter()
            plain = by_loops(grades, exclusive=exclusive, debias=debias)
            loops = time.perf_counter() - start
            for i, (grade, variance) in plain.items():
                if not (
                    math.isclose(found.items[i].grade, grade, rel_tol=1e-6)
                    and math.isclose(found.items[i].variance, variance, rel_tol=1e-6)
                ):
                    sys.exit(f"item {i} differs from the plain loop")
            name = f"{'exclusive' if exclusive else 'inclusive'}{', de-biased' if debias else ''}"
            print(
                f"{name:22} arrays {min(times):.4f}   loops {loops:6.2f}   ratio {loops / min(times):5.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
