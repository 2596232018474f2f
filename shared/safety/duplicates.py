"""Duplicates: one ingredient twice, and two drugs of a class where that is a mistake (`duplicates.csv`).

The table (CSV, UTF-8, lines that start with `#` are comments) has the columns `class,except,severity,effect,
advice,source`: a class of which nobody takes two, but for the pairs under `except` ("warfarin+@lmwh",
separated by ";"), which have a reason of their own.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import combinations

from shared.errors import KnowledgeError
from shared.medications.classes import members
from shared.safety.finding import Finding, Severity
from shared.safety.interactions import LOCAL_ROUTES, LOCAL_USE, Orders
from shared.safety.rule import covered

TABLE = "duplicates.csv"
COLUMNS = ("class", "except", "severity", "effect", "advice", "source")
TWICE, TAKEN = "duplicate.twice", "duplicate.taken"
"""Ids of the rules for one ingredient: twice in the list, and in the list although it is taken already."""


@dataclass(frozen=True)
class _Row:
    name: str
    members: frozenset[str]
    excepted: tuple[tuple[frozenset[str], frozenset[str]], ...]
    severity: Severity
    effect: str
    advice: str
    source: str

    def holds(self, a: str, b: str) -> bool:
        """Whether two of its members are a duplicate."""
        return not any((a in x and b in y) or (b in x and a in y) for x, y in self.excepted)


def duplicates(
    drugs: Collection[str], current: Collection[str], orders: Orders | None = None
) -> list[Finding]:
    """Duplicates among `drugs`, of these with `current` ones, and among the current ones; each pair once.

    Drugs are ingredient codes; one that stands twice in `drugs` is a duplicate of itself. The most severe
    class that both are of decides; where `orders` say that one of the two is used locally, it is minor.
    Raises `KnowledgeError` naming every bad line of the table.
    """
    found = list(_same(drugs, current))
    listed, rows = frozenset(drugs), _rows()
    known = sorted((listed | frozenset(current)) & rows.keys(), key=lambda drug: (drug not in listed, drug))
    local = {
        d for d, given in (orders or {}).items() if given and all(o.route in LOCAL_ROUTES for o in given)
    }
    for a, b in combinations(known, 2):
        both = [row for row in rows[a] if b in row.members and row.holds(a, b)]
        row = max(both, key=lambda row: (row.severity.weight, -len(row.members), row.name), default=None)
        if row is not None:
            lowered = row.severity is not Severity.minor and not local.isdisjoint((a, b))
            found.append(
                Finding(
                    kind="duplicate",
                    drug=a,
                    other=b,
                    severity=Severity.minor if lowered else row.severity,
                    effect=row.effect,
                    mechanism=f"both are of the class {row.name}",
                    source=row.source,
                    rule=f"duplicate.{row.name}",
                    modifiers=(LOCAL_USE,) if lowered else (),
                    advice=row.advice,
                )
            )
    return found


def _same(drugs: Collection[str], current: Collection[str]) -> Iterator[Finding]:
    for drug, times in sorted(Counter(drugs).items()):
        if times < 2 and drug not in current:
            continue
        twice = times > 1
        yield Finding(
            kind="duplicate",
            drug=drug,
            other=drug,
            severity=Severity.moderate if twice else Severity.minor,
            effect="double dose",
            mechanism="the list names it twice" if twice else "the patient takes it already",
            source="the list of drugs",
            rule=TWICE if twice else TAKEN,
            advice="order it once" if twice else "continue or change it; do not start a second one",
        )


@cache
def _rows() -> dict[str, list[_Row]]:
    """The rows of the table by ingredient."""
    problems: list[str] = []
    found: dict[str, list[_Row]] = {}
    lines = resources.files(__package__).joinpath(TABLE).read_text(encoding="utf-8").splitlines()
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    for number, line in numbered[1:]:
        try:
            row = _row(dict(zip(COLUMNS, next(csv.reader([line])), strict=True)))
        except ValueError as error:
            problems.append(f"{TABLE}, line {number}: {error}")
            continue
        for drug in row.members:
            found.setdefault(drug, []).append(row)
    if problems:
        raise KnowledgeError(problems)
    return found


def _row(fields: dict[str, str]) -> _Row:
    """A row. Raises ValueError with the field and the reason."""
    name = fields["class"]
    if not members(name):
        raise ValueError(f"class: no class {name!r} is known; see classes.csv and groups.csv")
    pairs: list[tuple[frozenset[str], frozenset[str]]] = []
    for text in filter(None, fields["except"].split(";")):
        sides = tuple(covered(side.strip()) for side in text.split("+"))
        if len(sides) != 2 or any(side.isdisjoint(members(name)) for side in sides):
            raise ValueError(f"except: {text!r} is not two drugs or @classes of {name} joined by +")
        pairs.append((sides[0], sides[1]))
    if not fields["effect"] or not fields["source"]:
        raise ValueError("effect, source: neither may be empty")
    severity = Severity(fields["severity"])
    return _Row(
        name, members(name), tuple(pairs), severity, fields["effect"], fields["advice"], fields["source"]
    )
