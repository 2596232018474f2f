"""Paired differences: one is primary, the others Holm-adjusted, and no winner is named without an interval.

One comparison was fixed before anything was seen: the accuracy of CHEMISTRY minus that of RANDOM at equal N.
All others are adjusted together with those of their own table, each table for itself: whoever reads several
looks at more comparisons than p counts. *Not distinguishable* stands wherever the interval holds 0 or the
adjusted p is 0.05 or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from producers.evaluation.reports.model import Column, Intervals, Table, points
from producers.evaluation.reports.study import Arm, Groups, Study, Value, accuracy, by_vignette
from shared.statistics import Difference, difference, holm

NOT_DISTINGUISHABLE = "not distinguishable"
LEVEL = 0.05


@dataclass(frozen=True)
class Pair:
    """Two sets of values by vignette, to be compared as first minus second."""

    first: str
    second: str
    a: Groups
    b: Groups
    primary: bool = False

    @property
    def name(self) -> str:
        return f"{self.first} − {self.second}"


@dataclass(frozen=True)
class Compared:
    """A pair's difference; `p` is Holm-adjusted unless the pair is primary."""

    pair: Pair
    difference: Difference
    p: float | None

    @property
    def verdict(self) -> str:
        """Higher or lower only where the interval leaves 0 out and p, adjusted, is below 0.05."""
        found = self.difference
        if found.value is None or found.low is None:
            return "cannot be told"
        if not found.distinguishable or self.p is None or self.p >= LEVEL:
            return NOT_DISTINGUISHABLE
        return "higher" if found.value > 0 else "lower"

    def sentence(self, measure: str) -> str:
        """The finding in words, with what so many vignettes could have shown."""
        found = self.difference
        if found.value is None or found.low is None or found.high is None:
            return f"{self.pair.name}: too few vignettes in common ({found.n}) to tell."
        chance = "" if self.p is None else f", p {_p(self.p)}{'' if self.pair.primary else ' (Holm)'}"
        could = (
            "The paired values do not vary, so the smallest difference that could be shown is not known."
            if found.smallest is None
            else f"The smallest difference that {found.n} vignettes with this spread can show is about "
            f"±{found.smallest:.2f}."
        )
        span = f"[{found.low:+.2f}, {found.high:+.2f}]".replace("-", "−")
        value = f"{found.value:+.2f}".replace("-", "−")
        return f"{self.pair.name}: {measure} {value} {span}{chance}: {self.verdict}. {could}"


def compare(pairs: Sequence[Pair]) -> list[Compared]:
    """Each pair's difference; all but the primary ones adjusted together."""
    found = {pair.name: difference(pair.a, pair.b) for pair in pairs}
    raw = {pair.name: p for pair in pairs if not pair.primary and (p := found[pair.name].p) is not None}
    adjusted = holm(raw)
    return [
        Compared(pair, found[pair.name], found[pair.name].p if pair.primary else adjusted.get(pair.name))
        for pair in pairs
    ]


def arms_compared(study: Study, value: Value = accuracy) -> list[Compared]:
    """At equal N and families: every strategy minus RANDOM, CHEMISTRY minus every other strategy; at the
    usual size CHEMISTRY minus every single model too."""
    pairs: list[tuple[Arm, Arm, bool]] = []
    for n, families in dict.fromkeys((arm.n, arm.families) for arm in study.ensembles):
        here = [arm for arm in study.ensembles if (arm.n, arm.families) == (n, families)]
        chemistry, random = (study.find(name, n, families) for name in ("CHEMISTRY", "RANDOM"))
        usual = (n, families) == study.usual
        if chemistry and random:
            pairs.append((chemistry, random, usual))
        if chemistry:
            beside = [arm for arm in study.arms if arm.single] if usual else []
            pairs += [(chemistry, arm, False) for arm in [*here, *beside] if arm not in (chemistry, random)]
        if random:
            pairs += [(arm, random, False) for arm in here if arm not in (chemistry, random)]
    pairs.sort(key=lambda pair: not pair[2])
    return compare(
        [
            Pair(a.name, b.name, by_vignette(a.rows, value), by_vignette(b.rows, value), primary)
            for a, b, primary in pairs
        ]
    )


def table_of(title: str, compared: Sequence[Compared], measure: str) -> Table:
    """The differences with interval, p, verdict and what could have been shown."""
    return Table(
        title,
        (
            Column("difference"),
            Column(measure),
            Column("p", digits=3),
            Column("finding"),
            Column("can show", "±"),
            Column("vignettes"),
        ),
        tuple(
            (
                f"{one.pair.name}{' (primary)' if one.pair.primary else ''}",
                one.difference,
                one.p,
                one.verdict,
                one.difference.smallest,
                one.difference.n,
            )
            for one in compared
        ),
        "Paired by vignette; 95 % intervals, each for itself; p of all but a primary comparison "
        "Holm-adjusted within this table. “Can show”: the smallest difference that these vignettes could "
        "have told from 0.",
    )


def forest(title: str, compared: Sequence[Compared], axis: str) -> Intervals:
    """The same as a forest plot; what stands out is told apart after adjustment too."""
    marked = tuple(
        replace(point, told=one.verdict in ("higher", "lower"))
        for one in compared
        for point in points([(one.pair.name, one.difference)])
    )
    return Intervals(title, axis, marked, zero=0.0)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
