"""All safety rules in force: the built-in tables and a site's file, indexed by ingredient.

The schema of a rule is described in `shared.safety.rule`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

from shared.errors import KnowledgeError
from shared.medications.classes import classes, classes_of
from shared.safety.rule import KINDS, Rule, RuleKind, Term, covered
from shared.safety.rule_table import read_file, read_table

__all__ = ["BUILTIN", "KINDS", "VERSION", "Knowledge", "Match", "Rule", "RuleKind", "Term", "builtin", "load"]

VERSION = "1.0"
"""Version of the built-in tables; a changed table is a new version."""

BUILTIN = ("interactions.csv", "allergies.csv", "pregnancy.csv", "renal.csv", "conditions.csv", "ages.csv")

DUPLICATES = "duplicates.csv"
"""Read by `shared.safety.duplicates`; here only part of the digest."""


@dataclass(frozen=True, slots=True)
class Match:
    """A rule about a pair of drugs {a, b}, seen from a: whether a stands on the side of `drug`."""

    rule: Rule
    first_is_drug: bool


@dataclass(frozen=True)
class Knowledge:
    """All rules in force, with look-ups by ingredient; `digest`: SHA-256 of rules, duplicates, classes."""

    rules: tuple[Rule, ...]
    version: str
    digest: str
    _fields: dict[tuple[str, str], list[Rule]] = field(init=False, repr=False, compare=False)
    _partners: dict[str, Mapping[str, tuple[Match, ...]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        fields: dict[tuple[str, str], list[Rule]] = {}
        for rule in self.rules:
            fields.setdefault((rule.kind, rule.drug), []).append(rule)
            if rule.kind in ("interaction", "modifier") and rule.other != rule.drug:
                fields.setdefault((rule.kind, rule.other), []).append(rule)
        object.__setattr__(self, "_fields", fields)

    def about(self, kind: RuleKind, ingredient: str) -> tuple[Rule, ...]:
        """The rules of a kind (no pairs) whose `drug` is the ingredient or one of its classes."""
        return tuple(rule for name in _names(ingredient) for rule in self._fields.get((kind, name), ()))

    def partners(self, ingredient: str) -> Mapping[str, tuple[Match, ...]]:
        """Every other drug that an interaction or modifier pairs with the ingredient → those rules."""
        found = self._partners.get(ingredient)
        if found is None:
            found = self._partners[ingredient] = self._paired(ingredient)
        return found

    def _paired(self, ingredient: str) -> Mapping[str, tuple[Match, ...]]:
        paired: dict[str, list[Match]] = {}
        names = _names(ingredient)
        for kind in ("interaction", "modifier"):
            rules = {id(r): r for name in names for r in self._fields.get((kind, name), ())}.values()
            for rule in rules:
                for mine, others, first in ((rule.drug, rule.other, True), (rule.other, rule.drug, False)):
                    if mine in names:
                        for other in covered(others) - {ingredient}:
                            paired.setdefault(other, []).append(Match(rule, first))
        return {other: tuple(matches) for other, matches in paired.items()}


def _names(ingredient: str) -> tuple[str, ...]:
    return (ingredient, *(f"@{name}" for name in sorted(classes_of(ingredient))))


@cache
def builtin() -> Knowledge:
    """The built-in tables. Raises `KnowledgeError` naming every bad line."""
    return load(None)


def load(path: Path | None) -> Knowledge:
    """The built-in tables, and on top of them a site's file: same id overrides, a new id adds, `off` drops.

    Raises `KnowledgeError` naming every bad line with file, line, field, reason and remedy.
    """
    problems: list[str] = []
    rules: dict[str, Rule] = {}
    for name in BUILTIN:
        table = resources.files(__package__).joinpath(name)
        read_table(name, table.read_text(encoding="utf-8"), rules, problems)
    if path is not None:
        read_file(path, rules, problems)
    if problems:
        raise KnowledgeError(problems)
    version = VERSION if path is None else f"{VERSION}+site"
    return Knowledge(tuple(rules.values()), version, _digest(rules.values()))


def _digest(rules: Iterable[Rule]) -> str:
    """SHA-256 over all rules by id, the table of duplicates and all classes with their members.

    Comments and the order of the lines do not matter.
    """
    duplicates = resources.files(__package__).joinpath(DUPLICATES).read_text(encoding="utf-8").splitlines()
    canonical = {
        "rules": [rule.row() for rule in sorted(rules, key=lambda rule: rule.id)],
        "duplicates": sorted(line for line in duplicates if line.strip() and not line.startswith("#")),
        "classes": {name: sorted(held) for name, held in classes().items()},
    }
    text = json.dumps(canonical, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
