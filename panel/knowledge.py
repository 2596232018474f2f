"""What the panel knows: drugs (drugs.csv) and first-line practice by condition (conditions.toml).

A simplification made for simulation, never for care. The models differ in how much of it they can recall.
"""

from __future__ import annotations

import csv
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).parent
Phrase = tuple[str, ...]


@dataclass(frozen=True)
class Drug:
    """A drug with one usual order; `avoid` holds pairs (rule, value) such as ("egfr<", "30")."""

    name: str
    group: str
    brand: str
    dose: str
    route: str
    frequency: str
    avoid: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Condition:
    """First-line practice: every goal is met by any one of its options, the first preferred.

    `acuity` 0 (background) to 4 (minutes count): what is most acute is what a case is about. No goals: no
    drug is needed. `wrong` are the tempting mistakes.
    """

    name: str
    specialty: str
    acuity: int
    find: tuple[str, ...]
    goals: tuple[tuple[str, ...], ...]
    extras: tuple[str, ...]
    wrong: tuple[str, ...]


class Lexicon:
    """Names by the phrases they are written as; the longest phrase wins."""

    def __init__(self, phrases: dict[Phrase, str]) -> None:
        self._names = phrases
        self._longest: dict[str, int] = {}  # by first word, so that most words of a text cost one look-up
        for words_ in phrases:
            self._longest[words_[0]] = max(len(words_), self._longest.get(words_[0], 0))

    def match(self, words_: list[str], at: int) -> tuple[str, int] | None:
        """(name, number of words) of the longest phrase that starts at position `at`."""
        for length in range(min(self._longest.get(words_[at], 0), len(words_) - at), 0, -1):
            name = self._names.get(tuple(words_[at : at + length]))
            if name is not None:
                return name, length
        return None


@dataclass(frozen=True)
class Knowledge:
    """The tables, and the lexicons by which text is searched."""

    drugs: dict[str, Drug]
    conditions: dict[str, Condition]
    drug_words: Lexicon
    condition_words: Lexicon
    allergy_words: Lexicon  # drugs, and classes as they are named in allergies

    def group(self, drug: str) -> str:
        """The pharmacological class of a drug; "" for one that is not known."""
        return self.drugs[drug].group if drug in self.drugs else ""


def words(text: str) -> list[str]:
    """Lower-case words and the marks that end a clause, in order."""
    return re.findall(r"\d+\.\d+|[a-z0-9à-ÿ]+|[.;:,\n]", text.lower())


def phrase(text: str) -> Phrase:
    """The words of a name, as they are looked up."""
    return tuple(w for w in words(text) if w[0].isalnum())


def _rule(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"(egfr<|age<|age>|has:|with:|allergy:)(.+)", text)
    return (match[1], match[2]) if match else (text, "")


def _drug_phrases(drugs: dict[str, Drug]) -> dict[Phrase, str]:
    found: dict[Phrase, str] = {}
    for drug in drugs.values():
        found[phrase(drug.name)] = drug.name
        if drug.brand:
            found[phrase(drug.brand)] = drug.name
        if "-" in drug.name and " " not in drug.name:  # a combination may be written with "and" or "plus"
            first, second = drug.name.split("-", 1)
            for joint in ("and", "plus"):
                found[(*phrase(first), joint, *phrase(second))] = drug.name
    return found


@lru_cache(maxsize=1)
def knowledge() -> Knowledge:
    """The tables of this folder, read once. Raises `KeyError` where a condition names an unknown drug."""
    with (HERE / "drugs.csv").open(encoding="utf-8", newline="") as file:
        drugs = {
            row["name"]: Drug(
                name=row["name"],
                group=row["class"],
                brand=row["brand"],
                dose=row["dose"],
                route=row["route"],
                frequency=row["frequency"],
                avoid=tuple(_rule(part) for part in row["avoid"].split(";") if part),
            )
            for row in csv.DictReader(file)
        }
    tables = tomllib.loads((HERE / "conditions.toml").read_text(encoding="utf-8"))
    conditions = {
        name: Condition(
            name=name,
            specialty=row["specialty"],
            acuity=row["acuity"],
            find=tuple(row["find"]),
            goals=tuple(tuple(options) for options in row["goals"]),
            extras=tuple(row.get("extras", ())),
            wrong=tuple(row["wrong"]),
        )
        for name, row in tables["conditions"].items()
    }
    for condition in conditions.values():
        for name in (*sum(condition.goals, ()), *condition.extras, *condition.wrong):
            if name not in drugs:
                raise KeyError(f"{condition.name}: no drug {name}")
    drug_phrases = _drug_phrases(drugs)
    classes = {phrase(t): name for name, texts in tables["allergy_classes"].items() for t in texts}
    return Knowledge(
        drugs=drugs,
        conditions=conditions,
        drug_words=Lexicon(drug_phrases),
        condition_words=Lexicon({phrase(text): c.name for c in conditions.values() for text in c.find}),
        allergy_words=Lexicon({**drug_phrases, **classes}),
    )
