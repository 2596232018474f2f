"""The lists of a consultation against each other: does the grade, does the refinement add anything?

A consultation without a list counts as not right in each of them; what is not known of a list (a screened one
or its interactions, stored before there was a refinement) is left out of the comparison, not counted as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from producers.evaluation.listed import Interacting, Listed
from producers.evaluation.measured import Measured
from producers.evaluation.reports.comparisons import Compared, Pair, compare
from producers.evaluation.reports.model import Cell, Column, Table
from producers.evaluation.reports.study import Study, Value, by_vignette, estimate
from shared.statistics import Estimate, ratio, resampled

WORDS = {
    "highest_graded": "highest graded",
    "majority": "majority",
    "screened": "screened majority",
    "refined": "refined",
    "ungraded": "refined at γ = 0",
}
LISTS = ("highest_graded", "majority", "screened", "refined")
PAIRS = (
    ("refined", "screened"),
    ("refined", "majority"),
    ("refined", "highest_graded"),
    ("refined", "ungraded"),
    ("screened", "majority"),
    ("majority", "highest_graded"),
)
FEWER, MORE, ALIKE, UNTOLD = "fewer", "more", "not distinguishable", "cannot be told"

Pick = Callable[[Measured], Listed | None]
Count = Callable[[Interacting], float]


def named(name: str) -> Pick:
    """The list of this name."""
    return lambda row: row.lists.get(name)


def value(pick: Pick, measure: Callable[[Listed], float | None]) -> Value:
    """A figure of a list; 0 where the consultation has no list at all, None where this one is not known."""

    def of(row: Measured) -> float | None:
        given = pick(row)
        return measure(given) if given else None if row.lists else 0.0

    return of


def is_right(one: Listed) -> float:
    return float(one.right)


def f1_of(one: Listed) -> float:
    return one.f1


def size_of(one: Listed) -> float:
    return float(one.size)


def severity_of(one: Listed) -> float | None:
    return one.interacting.severity if one.interacting else None


def rate_of(one: Listed) -> float | None:
    return one.rate


def pooled_rate(rows: Iterable[Measured], pick: Pick) -> Estimate:
    """Interacting pairs of the lists over all their pairs, pooled."""
    return ratio(_sums(rows, pick, lambda one: one.within, lambda one: one.possible))


def per_drug(rows: Iterable[Measured], pick: Pick, count: Count = lambda one: one.pairs) -> Estimate:
    """Interacting pairs over recommended drugs, pooled."""
    return ratio(_sums(rows, pick, count, lambda one: one.size))


def _sums(
    rows: Iterable[Measured], pick: Pick, count: Count, over: Callable[[Listed], float]
) -> dict[str, list[tuple[float, float]]]:
    sums: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        given = pick(row)
        if given and given.interacting:
            sums.setdefault(row.vignette, []).append((count(given.interacting), over(given)))
    return sums


def pooled(study: Study) -> list[Measured]:
    """The consultations of all ensembles; of single models where nothing else was run."""
    return [row for arm in study.ensembles for row in arm.rows] or study.rows


def by_arm(study: Study) -> Table:
    """Accuracy of the lists of each ensemble."""
    return Table(
        "The lists of each arm",
        (Column("arm"), *(Column(WORDS[name]) for name in LISTS)),
        tuple(
            (arm.name, *(estimate(arm.rows, value(named(name), is_right)) for name in LISTS))
            for arm in study.ensembles
        ),
        "Accuracy (list-1) of each. Refined is what stands as the conclusion; the screened majority is the "
        "majority without the drugs that no dial may keep.",
    )


def side_by_side(rows: Sequence[Measured]) -> Table:
    """Each list over all ensembles: how good, how large, what interacts."""
    return Table(
        "The lists side by side",
        (Column("list"), *FIGURES),
        tuple(figures(WORDS[name], rows, named(name)) for name in WORDS),
        NOTE,
    )


FIGURES = (
    Column("accuracy"),
    Column("F1"),
    Column("drugs on the list"),
    Column("pairs per drug, within", digits=3),
    Column("with what is taken, too", digits=3),
    Column("severity per list", digits=3),
)
NOTE = (
    "Pairs per drug: pairs that interact moderately or worse over recommended drugs, pooled; first those of "
    "two drugs of the list, then also those of one and a drug that the patient takes already. Severity: "
    "summed over all pairs (contraindicated 1, major 0.6, moderate 0.25, minor 0.05)."
)


def figures(name: str, rows: Sequence[Measured], pick: Pick) -> tuple[Cell, ...]:
    """One row of such a table."""
    return (
        name,
        *(estimate_of(rows, pick, measure) for measure in (is_right, f1_of, size_of)),
        per_drug(rows, pick, lambda one: one.within),
        per_drug(rows, pick),
        estimate_of(rows, pick, severity_of),
    )


def estimate_of(rows: Sequence[Measured], pick: Pick, measure: Callable[[Listed], float | None]) -> Estimate:
    """A figure's mean."""
    return estimate(_counted(rows, measure), value(pick, measure))


def _counted(rows: Sequence[Measured], measure: Callable[[Listed], float | None]) -> Sequence[Measured]:
    """Where there is no list, that counts 0 in accuracy and F1, and not at all in the others."""
    return rows if measure in (is_right, f1_of) else [row for row in rows if row.lists]


def compared(rows: Sequence[Measured], measure: Callable[[Listed], float | None]) -> list[Compared]:
    """Paired by vignette over the consultations in which both lists are known; adjusted together."""
    made = []
    for first, second in PAIRS:
        a, b = value(named(first), measure), value(named(second), measure)
        both = [row for row in _counted(rows, measure) if a(row) is not None and b(row) is not None]
        made.append(Pair(WORDS[first], WORDS[second], by_vignette(both, a), by_vignette(both, b)))
    return compare(made)


@dataclass(frozen=True)
class Fewer:
    """Interacting pairs per recommended drug of one list over those of another, each pooled."""

    first: str
    second: str
    a: float | None
    b: float | None
    ratio: Estimate

    @property
    def finding(self) -> str:
        """Fewer or more only where the interval of the ratio leaves 1 out."""
        if self.ratio.low is None or self.ratio.high is None:
            return UNTOLD
        return FEWER if self.ratio.high < 1 else MORE if self.ratio.low > 1 else ALIKE

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if self.a is None or self.b is None:
            return f"{self.first} ÷ {self.second}: interacting pairs per drug are not known."
        at = f"{self.a:.3f} against {self.b:.3f} interacting pairs per recommended drug"
        if self.ratio.value is None or self.ratio.low is None or self.ratio.high is None:
            return f"{self.first} ÷ {self.second}: {at}: {self.finding}."
        span = f"{self.ratio.value:.2f} times [{self.ratio.low:.2f}, {self.ratio.high:.2f}]"
        return f"{self.first} ÷ {self.second}: {at}, {span}: {self.finding}."


def fewer(rows: Sequence[Measured], first: str, second: str, count: Count = lambda one: one.pairs) -> Fewer:
    """Over the consultations in which both lists and their findings are known; vignettes are resampled."""
    both = [row for row in rows if _known(row, first) and _known(row, second)]
    a, b = (_sums(both, named(name), count, lambda one: one.size) for name in (first, second))
    groups = {key: [(*_total(a[key]), *_total(b[key]))] for key in a}

    def times(drawn: list[tuple[float, float, float, float]]) -> float | None:
        pairs, drugs, their_pairs, their_drugs = (sum(column) for column in zip(*drawn, strict=True))
        return pairs * their_drugs / (drugs * their_pairs) if drugs and their_pairs else None

    rates = [per_drug(both, named(name), count).value for name in (first, second)]
    return Fewer(WORDS[first], WORDS[second], rates[0], rates[1], resampled(groups, times, draws=1_000))


def fewer_table(rows: Sequence[Measured]) -> Table:
    """The ratio for each pair of lists, within the list and with what is taken."""
    made: list[tuple[Cell, ...]] = []
    for first, second in PAIRS:
        within, all_ = fewer(rows, first, second, lambda one: one.within), fewer(rows, first, second)
        minor = fewer(rows, first, second, lambda one: one.of_any_severity)
        name = f"{all_.first} ÷ {all_.second}"
        made.append((name, within.ratio, within.finding, all_.ratio, all_.finding, minor.ratio))
    return Table(
        "Interacting pairs per recommended drug, one list over the other",
        (
            Column("ratio"),
            Column("within the list", "×"),
            Column("finding"),
            Column("with what is taken, too", "×"),
            Column("finding"),
            Column("minor ones, too", "×"),
        ),
        tuple(made),
        "Pairs that interact moderately or worse; in the last column minor ones, too, such as guidelines "
        "combine. Below 1 the first has fewer. Pooled over the same consultations; vignettes are resampled; "
        "not adjusted for their number. A dot: the second has none.",
    )


def _known(row: Measured, name: str) -> bool:
    given = row.lists.get(name)
    return given is not None and given.interacting is not None


def _total(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(a for a, _ in parts), sum(b for _, b in parts)
