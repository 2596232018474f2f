"""The best list: all 2ⁿ of them at once, or a climb from ten starts (algorithms, section 6).

Ties: among lists within 1e-9 of the highest U the larger summed grade of the seats that name its drugs (equal
to 1e-9), then the smaller list, then names.

**More λ never means more severity.** Let S be the summed severity, A the rest of U, and L₁, L₂ what is chosen
at λ₁ < λ₂, each within ε of the best. Then A₁ − λ₁S₁ ≥ A₂ − λ₁S₂ − ε and A₂ − λ₂S₂ ≥ A₁ − λ₂S₁ − ε; added up,
S₂ ≤ S₁ + 2ε / (λ₂ − λ₁), whatever decides ties. Severities are multiples of 0.05, so with ε = 1e-9 it is
S₂ ≤ S₁ for any two dials more than 4e-8 apart. This is of `exact`; a climb promises nothing of the kind.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.refinement.utility import Utility
from shared.seeding import shuffled

MOST = 16
"""So many candidates are enumerated: 65,536 lists."""
TIE = 1e-9
STARTS, SEED = 8, 6
LEAN, STEP = 1e-12, 1e-14
"""While climbing, this share of its grade is added to a drug's support: of equals, the higher grade. A step
gains more than what rounding makes of nothing."""

Floats = NDArray[np.float64]


class _Arrays:
    """U as arrays over bit positions (the last candidate is position 0)."""

    def __init__(self, u: Utility) -> None:
        n = len(u.bits)
        self.alone = np.array([u.support[1 << k] for k in range(n)])  # gain of a drug on the empty list
        self.pair = np.zeros((n, n))  # what two drugs together cost
        self.clash = np.zeros((n, n), dtype=bool)
        self.allowed = np.array([not u.barred >> k & 1 for k in range(n)], dtype=bool)
        costs = [(code, u.dials.severity * weight) for code, weight in u.severities]
        for code, cost in [*costs, *((code, u.dials.same_class) for code in u.same_class)]:
            i, j = _ends(code)
            if i == j:
                self.alone[i] -= cost
            else:
                self.pair[i, j] = self.pair[j, i] = self.pair[i, j] + cost
        for i, j in map(_ends, u.clashes):
            self.clash[i, j] = self.clash[j, i] = True


def _ends(code: int) -> tuple[int, int]:
    """Positions of the lowest and of the highest bit."""
    return (code & -code).bit_length() - 1, code.bit_length() - 1


def exact(u: Utility, grades: Mapping[str, float]) -> int:
    """The code of the best of all lists. Memory: 2ⁿ floats, a few times."""
    values = utilities(u)
    tied = np.flatnonzero(values >= values.max() - TIE)
    if len(tied) == 1:
        return int(tied[0])
    graded = _sums([grades.get(drug, 0.0) for drug in reversed(u.bits)])[tied].round(9)
    sizes = _sums([1.0] * len(u.bits))[tied]
    return int(tied[np.lexsort((tied, -sizes, graded))[-1]])


def utilities(u: Utility) -> Floats:
    """U of every list by its code, but for the constant that M treats; −inf where infeasible. Shape (2ⁿ,).

    The lists with the next drug are the lists without it plus its gain on each, and what it meets there is
    a sum over subsets too: no product of matrices, and the same order of additions on every machine.
    """
    a, n = _Arrays(u), len(u.bits)
    codes = np.arange(1 << n, dtype=np.int32)
    values = np.zeros(1 << n)
    for k in range(n):
        without, with_ = values[: 1 << k], values[1 << k : 2 << k]
        np.add(without, a.alone[k], out=with_)
        if a.pair[k, :k].any():
            with_ -= _sums(a.pair[k, :k])
        if not a.allowed[k]:
            with_.fill(-math.inf)
        elif a.clash[k, :k].any():
            with_[codes[: 1 << k] & sum(1 << int(j) for j in np.flatnonzero(a.clash[k, :k])) != 0] = -math.inf
    if u.dials.treats:
        for treating, conditions in Counter(u.conditions.values()).items():
            values += u.dials.treats * conditions * (codes & treating != 0)
    return values


def _sums(weights: Sequence[float] | Floats) -> Floats:
    """The sum of the weights over every subset, by its code."""
    sums = np.zeros(1 << len(weights))
    for k, weight in enumerate(weights):
        np.add(sums[: 1 << k], weight, out=sums[1 << k : 2 << k])
    return sums


def climb(u: Utility, grades: Mapping[str, float], start: int, unanimous: int = 0) -> int:
    """The code of the best list that climbing finds, by adding, removing and exchanging one for one.

    From `start` as far as it is feasible, from ∅ and from 8 seeded halves of the candidates. A unanimous drug
    stays on all the way, unless it is barred or clashes with another unanimous one.
    """
    likely = sorted(u.support, key=lambda bit: (-u.support[bit], -bit))
    able = [bit for bit in likely if bit & unanimous & ~u.barred]
    fixed = [bit for bit in able if not any(u.bars(bit | other) for other in able)]
    halves = [shuffled(u.bits, SEED, k)[: len(u.bits) // 2] for k in range(STARTS)]
    starts = [[bit for bit in likely if bit & start], [], *([u.bits[d] for d in half] for half in halves)]
    slopes = Slopes(u, grades, sum(fixed))
    tops = sorted({slopes.ascend(u.feasible([*fixed, *bits])) for bits in starts})
    values = [u.terms(code).total for code in tops]
    return max(
        (code for code, value in zip(tops, values, strict=True) if value >= max(values) - TIE),
        key=lambda code: (_graded(u, grades, code), -code.bit_count(), code),
    )


def _graded(u: Utility, grades: Mapping[str, float], code: int) -> float:
    return round(math.fsum(grades.get(drug, 0.0) for drug in u.drugs(code)), 9)


class Slopes:
    """The gains of all lists next to a list, at once."""

    def __init__(self, u: Utility, grades: Mapping[str, float], fixed: int) -> None:
        self.a, n = _Arrays(u), len(u.bits)
        self.lean = self.a.alone + LEAN * np.array([grades.get(drug, 0.0) for drug in reversed(u.bits)])
        self.free = positions(~fixed, n)
        self.treats = np.array([positions(code, n) for code in u.conditions.values()]).reshape(-1, n)
        self.kappa = u.dials.treats

    def ascend(self, code: int) -> int:
        """The top above a feasible list: always the step that gains most, the first of equals."""
        n = len(self.lean)
        on = positions(code, n)
        while True:
            gains = self.gains(on)
            leaving, joining = divmod(int(gains.argmax()), n + 1)
            if not gains[leaving, joining] > STEP:
                return sum(1 << int(k) for k in np.flatnonzero(on))
            on[[k for k in (leaving, joining) if k < n]] ^= True

    def gains(self, on: NDArray[np.bool_]) -> Floats:
        """Shape (n + 1, n + 1): i leaves and j joins; the last row and column stand for nobody."""
        a, n = self.a, len(on)
        treating = self.treats[:, on].sum(axis=1)
        alone = self.treats[treating == 1].astype(np.float64)  # conditions that hang on one drug of the list
        meets = a.pair[:, on].sum(axis=1)
        join = self.lean - meets + self.kappa * self.treats[treating == 0].sum(axis=0)
        leave = meets - self.lean - self.kappa * alone.sum(axis=0)
        gains = np.zeros((n + 1, n + 1))
        gains[:n, :n] = a.pair + self.kappa * (alone.T @ alone)
        gains[:n] += leave[:, None]
        gains[:, :n] += join
        blocked = np.zeros((n + 1, n))
        blocked[:] = a.clash[:, on].sum(axis=1)
        blocked[:n] -= a.clash
        gains[:, :n][(blocked > 0) | on | ~a.allowed] = -math.inf
        gains[:n][~(on & self.free)] = -math.inf
        gains[n, n] = 0.0
        return gains


def positions(code: int, n: int) -> NDArray[np.bool_]:
    """Which positions' bits a code holds, shape (n,)."""
    return np.array([code >> k & 1 for k in range(n)], dtype=bool)
