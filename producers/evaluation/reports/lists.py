"""The lists of a consultation against each other: does the grade, does the refinement add anything?

A consultation without a list counts as not right in each of them; what is not known of a list (a screened one
or its interactions, stored before there was a refinement) is left out of the comparison, not counted as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from producers.evaluation.listed import Interacting, Listed
from producers.evaluation.measured import Measured
from producers.evaluation.reports.comparisons import Compared, Pair, compare
from producers.evaluation.reports.model import Cell, Column, Table, shown
from producers.evaluation.reports.study import Study, Value, by_vignette, estimate
from shared.statistics import LEAST_UNITS, Difference, Estimate, difference, ratio

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
Sums = dict[str, list[tuple[float, float]]]  # vignette → pairs and what they are divided by, by repeat


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
    return _pooled(_sums(rows, pick, lambda one: one.within, lambda one: one.possible))


def per_drug(rows: Iterable[Measured], pick: Pick, count: Count = lambda one: one.pairs) -> Estimate:
    """Interacting pairs over recommended drugs, pooled."""
    return _pooled(_sums(rows, pick, count, lambda one: one.size))


def _pooled(sums: Sums) -> Estimate:
    """Without a single pair every draw has none: an interval from 0 to 0 would claim what nobody knows."""
    found = ratio(sums)
    return found if found.value else replace(found, low=None, high=None)


def _sums(rows: Iterable[Measured], pick: Pick, count: Count, over: Callable[[Listed], float]) -> Sums:
    sums: Sums = {}
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
    """Interacting pairs per recommended drug of one list, `a`, against those of another, `b`, each pooled."""

    first: str
    second: str
    a: float | None
    b: float | None
    difference: Difference  # a − b; unknown where neither has a pair
    differ: int  # vignettes in which one list has more pairs than the other

    @property
    def ratio(self) -> float | None:
        """a over b: describes, and decides nothing; None where b has no pair."""
        return None if self.a is None or not self.b else self.a / self.b

    @property
    def finding(self) -> str:
        """Fewer or more only where the difference can be told from 0 and does not hang on a few vignettes."""
        if self.difference.low is None:
            return UNTOLD
        if self.differ < LEAST_UNITS or not self.difference.distinguishable:
            return ALIKE
        return FEWER if (self.difference.value or 0.0) < 0 else MORE

    @property
    def sentence(self) -> str:
        """The finding in words."""
        name, found = f"{self.first} − {self.second}", self.difference
        if self.a is None or self.b is None:
            return f"{name}: interacting pairs per drug are not known."
        at = f"{self.a:.3f} against {self.b:.3f} interacting pairs per recommended drug"
        if found.low is None:
            return f"{name}: {at}: {self.finding}."
        span = shown(found, Column("", digits=3))
        times = "" if self.ratio is None else f", {self.ratio:.2f} times"
        few = "" if self.differ >= LEAST_UNITS else f" (fewer than {LEAST_UNITS} decide nothing)"
        where = f"Their pairs differ in {self.differ} of {found.n} vignettes{few}."
        return f"{name}: {at}, {span}{times}: {self.finding}. {where}"


def fewer(rows: Sequence[Measured], first: str, second: str, count: Count = lambda one: one.pairs) -> Fewer:
    """Over the consultations in which both lists and their findings are known; vignettes are resampled."""
    both = [row for row in rows if _known(row, first) and _known(row, second)]
    a, b = (
        {key: _total(parts) for key, parts in _sums(both, named(name), count, lambda one: one.size).items()}
        for name in (first, second)
    )
    (rate_a, parts_a), (rate_b, parts_b) = _linearised(a), _linearised(b)
    return Fewer(
        WORDS[first],
        WORDS[second],
        rate_a,
        rate_b,
        difference(parts_a, parts_b) if rate_a or rate_b else difference({}, {}),
        sum(a[key][0] != b[key][0] for key in a),
    )


def _linearised(sums: dict[str, tuple[float, float]]) -> tuple[float | None, dict[str, list[float]]]:
    """Pairs over drugs, and each vignette's part in it: to first order, what resampling it weighs. The parts'
    mean is the rate (Taylor linearisation of a ratio: Särndal, Swensson & Wretman, 1992, section 5.6)."""
    pairs, drugs = _total(list(sums.values()))
    if not drugs:
        return None, {}
    rate = pairs / drugs
    return rate, {key: [rate + (p - rate * d) * len(sums) / drugs] for key, (p, d) in sums.items()}


def fewer_table(rows: Sequence[Measured]) -> Table:
    """The difference for each pair of lists, within the list and with what is taken."""
    made: list[tuple[Cell, ...]] = []
    for first, second in PAIRS:
        within, all_ = fewer(rows, first, second, lambda one: one.within), fewer(rows, first, second)
        minor = fewer(rows, first, second, lambda one: one.of_any_severity)
        name = f"{all_.first} − {all_.second}"
        made.append(
            (
                name,
                within.difference,
                within.finding,
                all_.difference,
                all_.finding,
                all_.ratio,
                minor.difference,
            )
        )
    return Table(
        "Interacting pairs per recommended drug, one list against the other",
        (
            Column("difference"),
            Column("within the list", digits=3),
            Column("finding"),
            Column("with what is taken, too", digits=3),
            Column("finding"),
            Column("as a ratio", "×"),
            Column("minor ones, too", digits=3),
        ),
        tuple(made),
        "Pairs that interact moderately or worse; in the last column minor ones, too, such as guidelines "
        "combine. Below 0 the first has fewer. Pooled over the same consultations; vignettes are resampled; "
        "not adjusted for their number. Fewer and more are said only where the lists' pairs differ in "
        f"{LEAST_UNITS} vignettes or more. The ratio is of what is taken, too, and decides nothing.",
    )


def _known(row: Measured, name: str) -> bool:
    given = row.lists.get(name)
    return given is not None and given.interacting is not None


def _total(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(a for a, _ in parts), sum(b for _, b in parts)
