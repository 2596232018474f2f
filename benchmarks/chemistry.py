"""Cost-based chemistry of all pairs: how seconds grow with models, and the ratio to a plain enumeration.

    python benchmarks/chemistry.py [MODELS_OF_THE_ENUMERATION]

Simulated models, all used, penalties over 20 decades, without the empty context (with it most pairs are 1 at
once). Best of 3 on one core, in CPU seconds. Bars: 60 models take at most 20 times what 30 take; at 14 models
a plain enumeration of all contexts takes at least 500 times as long. Both must agree to 1e-9 on every pair.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np

from shared.chemistry.cost import Rated, cost
from shared.chemistry.pairs import strongest

T = TypeVar("T")
USAGE = 0.5


def models(n: int, seed: int = 1) -> list[Rated]:
    """So many models whose penalties span 20 decades."""
    rng = np.random.default_rng(seed)
    off, wrong = 10 ** rng.uniform(-10, -0.3, n), 10 ** rng.uniform(-10, -0.4, n)
    return [Rated(f"m{i:02}", float(10 * (1 - off[i])), float(1 - wrong[i])) for i in range(n)]


def enumerate_contexts(among: Sequence[Rated]) -> dict[tuple[str, str], float]:
    """The definition: for each pair all contexts, of each its four costs."""
    found: dict[tuple[str, str], float] = {}
    for a, b in combinations(among, 2):
        others = [m for m in among if m not in (a, b)]
        for size in range(1, len(others) + 1):
            for x in combinations(others, size):
                alone, with_a = cost(x, USAGE, None), cost([*x, a], USAGE, None)
                with_b, both = cost([*x, b], USAGE, None), cost([*x, a, b], USAGE, None)
                if alone and with_a and with_b and both:
                    ratio = min(1.0, abs(both - with_a - with_b + alone) / both)
                    found[a.name, b.name] = max(ratio, found.get((a.name, b.name), 0.0))
    return found


def timed(work: Callable[[], T], times: int) -> tuple[float, T]:
    """Least CPU seconds of so many runs, and the last result."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def main() -> None:
    """Print a line for each size, then the two ratios."""
    plain_n = int(sys.argv[1]) if len(sys.argv) > 1 else 14
    seconds = {}
    for n in sorted({plain_n, 30, 60}):
        among = models(n)
        seconds[n], found = timed(lambda among=among: strongest(among, empty_context=False), 3)  # type: ignore[misc]
        print(f"{n:3} models   {len(found):5} pairs   {seconds[n]:8.4f} s", flush=True)
    print(
        f"60 against 30 models: {seconds[60] / seconds[30]:.1f} times (n⁴: 16; bar: at most 20)", flush=True
    )
    among = models(plain_n)
    found = strongest(among, empty_context=False)
    plain_seconds, plain = timed(lambda: enumerate_contexts(among), 1)
    worst = max(abs(found[pair].value - value) for pair, value in plain.items())
    if plain.keys() != found.keys() or worst > 1e-9:
        sys.exit(f"the enumeration differs by {worst:.1e}")
    print(
        f"{plain_n} models, plain enumeration: {plain_seconds:.2f} s, "
        f"{plain_seconds / seconds[plain_n]:.0f} times as long (bar: at least 500); "
        f"largest difference {worst:.1e}"
    )


if __name__ == "__main__":
    main()
