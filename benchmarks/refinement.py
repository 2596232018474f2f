"""Refinement against its bars: equal to brute force, never infeasible, climbing, the trace's sum, and speed.

    python benchmarks/refinement.py [SHARE_OF_THE_FULL_NUMBERS]

Random problems: three or five seats that each name some of the candidates (so that supports tie as in life,
or any support), grades, current medications, conditions, and findings of every severity. Brute force is
written plainly from the definition and shares no code with the product but for its plain values. Speed is
CPU seconds, best of 7, as a ratio to a bare matrix evaluation of all lists of 16 in the same run.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from shared.refinement import Dials, Problem, Refined, refine
from shared.refinement.search import Floats, climb, exact, utilities
from shared.refinement.utility import Utility
from shared.safety.finding import Finding, Kind, Severity

SEVERITIES = (
    *[Severity.minor] * 3,
    *[Severity.moderate] * 6,
    *[Severity.major] * 4,
    Severity.contraindicated,
)


@dataclass(frozen=True)
class Instance:
    """A problem with what the seats think of it."""

    problem: Problem
    support: dict[str, float]
    majority: tuple[str, ...]
    grades: dict[str, float]
    dials: Dials

    def refined(self) -> Refined:
        """What the product makes of it."""
        return refine(self.problem, self.support, self.majority, self.grades, self.dials)


def instance(seed: int, *, least: int = 0, most: int = 12, density: float | None = None) -> Instance:
    """A random instance with so many candidates; `density` of pairs that have a finding."""
    rng = random.Random(seed)
    n = rng.randint(least, most)
    names = [f"drug{i:02}" for i in range(n + rng.randint(0, 6))]
    rng.shuffle(names)
    candidates = tuple(sorted(names[:n]))
    current = (*names[n:], *rng.sample(candidates, rng.choice((0, 0, 1)) if n else 0))
    dense = rng.choice((0.05, 0.2, 0.5)) if density is None else density
    findings = []
    for a, b in combinations(sorted({*candidates, *current}), 2):
        kinds: tuple[tuple[Kind, float], ...] = (("interaction", dense), ("duplicate", dense / 4))
        for kind, share in kinds:
            if rng.random() < share:
                drug, other = rng.sample((a, b), 2)
                findings.append(_finding(kind, drug, other, rng.choice(SEVERITIES)))
    for drug in candidates:
        if rng.random() < 0.08:
            findings.append(_finding("allergy", drug, "penicillin", rng.choice(SEVERITIES)))
        if rng.random() < 0.15:
            findings.append(_finding("renal", drug, "egfr<30", rng.choice(SEVERITIES)))
    rng.shuffle(findings)
    ills = [f"condition_{i}" for i in range(rng.randint(0, 5))]
    treats = {d: tuple(c for c in ills if rng.random() < 0.3) for d in names}
    seats, gamma = rng.choice((2, 3, 5)), rng.choice((0.0, 1.0))
    graded = [round(rng.random(), 1) for _ in range(seats)]
    named = {d: [u for u in range(seats) if rng.random() < 0.6] for d in candidates}
    odds = {
        d: sum(0.6 + gamma * (graded[u] - 0.5) if u in by else -0.6 for u in range(seats))
        for d, by in named.items()
    }
    support = {d: 1 / (1 + math.exp(-logit)) for d, logit in odds.items()}
    if rng.random() < 0.5:
        support = {d: rng.uniform(0.01, 0.99) for d in candidates}
    return Instance(
        Problem(candidates, current, tuple(findings), treats),
        support,
        tuple(d for d in candidates if len(named[d]) > seats / 2),
        {d: sum(graded[u] for u in by) for d, by in named.items()},
        Dials(rng.choice((0.0, 0.3, 1.0, 3.0)), rng.choice((0.0, 0.1)), rng.choice((0.0, 0.05, 0.3))),
    )


def _finding(kind: Kind, drug: str, other: str, severity: Severity) -> Finding:
    return Finding(kind, drug, other, severity, "harm", "", "a source", f"{kind}-{drug}-{other}")


def severity(i: Instance, drugs: tuple[str, ...]) -> float:
    """Summed severity of the pairs within L ∪ M that are not both in M."""
    taken, given = {*i.problem.current}, {*drugs, *i.problem.current}
    worst: dict[frozenset[str], float] = {}
    for f in i.problem.findings:
        pair = frozenset((f.drug, f.other))
        if f.is_pair and pair <= given and not pair <= taken:
            worst[pair] = max(worst.get(pair, 0), f.severity.weight)
    return sum(worst.values())


def utility(i: Instance, drugs: tuple[str, ...]) -> float:
    """U by its definition."""
    classes = {frozenset((f.drug, f.other)) for f in i.problem.findings if f.kind == "duplicate"}
    treated = {c for d in (*drugs, *i.problem.current) for c in i.problem.treats.get(d, ())}
    return (
        sum(i.support[d] - 0.5 for d in drugs)
        - i.dials.severity * severity(i, drugs)
        - i.dials.same_class * sum(frozenset(pair) in classes for pair in combinations(drugs, 2))
        + i.dials.treats * len(treated)
    )


def feasible(i: Instance, drugs: tuple[str, ...]) -> bool:
    """Whether nothing bars the list, or what it brings to the current medications."""
    taken, given = {*i.problem.current}, {*drugs, *i.problem.current}
    for f in i.problem.findings:
        if f.kind == "allergy" or f.severity is Severity.contraindicated:
            ends = {f.drug, f.other}
            if (ends <= given and not ends <= taken) if f.is_pair else f.drug in drugs:
                return False
    return True


def brute_force(i: Instance) -> tuple[str, ...]:
    """The best feasible list, by looking at one after the other."""
    lists = [c for k in range(len(i.problem.candidates) + 1) for c in combinations(i.problem.candidates, k)]
    values = {drugs: utility(i, drugs) for drugs in lists if feasible(i, drugs)}
    top = max(values.values())
    tied = [drugs for drugs, value in values.items() if value >= top - 1e-9]
    return min(tied, key=lambda drugs: (-round(sum(i.grades[d] for d in drugs), 9), len(drugs), drugs))


def shares_of_the_optimum(seeds: range) -> tuple[float, int]:
    """U of what climbing finds as a share of the optimum, summed over dense instances with n = 14; how many
    are the optimum's very list."""
    climbed, optimum, equal = 0.0, 0.0, 0
    for seed in seeds:
        i = instance(seed, least=14, most=14, density=0.5)
        u = Utility(i.problem, i.support, i.dials)
        best, found = exact(u, i.grades), climb(u, i.grades, u.code(i.majority))
        climbed += u.terms(found).total
        optimum += u.terms(best).total
        equal += found == best
    return climbed / optimum, equal


def bare(bits: Floats, support: Floats, pairs: Floats) -> float:
    """The plainest evaluation of all lists: bits (2ⁿ, n), a sum of supports and a quadratic form."""
    return float((bits @ support - ((bits @ pairs) * bits).sum(axis=1) / 2).max())


def timed(work: Callable[[], object]) -> float:
    """Least CPU seconds of seven runs."""
    seconds = []
    for _ in range(7):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def main() -> None:
    """Print each bar and what was measured."""
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    few, many, dense = round(1000 * share), round(10_000 * share), round(300 * share)

    small = [instance(seed) for seed in range(few)]
    equal = sum(i.refined().drugs == brute_force(i) for i in small)
    print(f"equal to brute force, n ≤ 12: {equal:,} of {few:,} (bar: all)", flush=True)

    infeasible, off = 0, 0.0
    for seed in range(many):
        i = instance(seed, most=16)
        r = i.refined()
        infeasible += not feasible(i, r.drugs)
        gained = math.fsum(edit.gain.total for edit in r.edits)
        off = max(off, abs(gained - (r.utility.total - r.start.total)))
        off = max(off, abs(utility(i, r.drugs) - utility(i, i.majority) - gained))
    print(f"infeasible, n ≤ 16: {infeasible} of {many:,} (bar: 0)")
    print(f"Σ gains against U(L*) − U(L₀): differs by {off:.1e} at most (bar: 1e-12)", flush=True)

    reached, same = shares_of_the_optimum(range(dense))
    print(f"climbed, n = 14, half of all pairs interact: {reached:.5f} of the optimum (bar: 0.995), ", end="")
    print(f"the same list in {same} of {dense}", flush=True)

    bits = (np.arange(1 << 16)[:, None] >> np.arange(16) & 1).astype(np.float64)
    rng = np.random.default_rng(1)
    support, pairs = rng.random(16), rng.random((16, 16))
    base = timed(lambda: bare(bits, support, pairs + pairs.T))
    ratios = []
    for seed in range(20):
        i = instance(seed, least=16, most=16, density=0.5)
        u = Utility(i.problem, i.support, i.dials)
        ratios.append((timed(i.refined) / base, timed(lambda u=u: utilities(u)) / base))  # type: ignore[misc]
    whole, alone = (sorted(column) for column in zip(*ratios, strict=True))
    print(
        f"n = 16: bare evaluation {1e3 * base:.1f} ms; all of refinement takes {whole[10]:.2f} of that "
        f"(median of 20; at most {whole[-1]:.2f}; bar: 2), U of all lists {alone[10]:.2f}"
    )


if __name__ == "__main__":
    main()
