"""Reading a case: what stands between CASE BEGIN and CASE END, in sentences as well as in its lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from panel.chance import digest
from panel.knowledge import Condition, Lexicon, knowledge, phrase, words

DENIALS = {"no", "not", "denies", "denied", "without", "never", "negative", "excluded", "nor", "neither"}
DENIALS |= {"stopped", "discontinued", "previously"}
TURNS = {"has", "had", "presents", "presenting", "with", "but", "takes", "shows", "confirmed", "diagnosis"}
RELATIVES = {"mother", "father", "brother", "sister", "parents", "family", "grandmother", "grandfather"}
REACTIONS = {"allergy", "allergies", "allergic", "anaphylaxis", "hives", "angioedema", "hypersensitivity"}
RESCUERS = {
    "catecholamine",
    "antihistamine",
    "sedating antihistamine",
    "corticosteroid",
}  # given for reactions
TAKING = {
    "takes",
    "taking",
    "uses",
    "using",
    "on",
    "with",
    "medication",
    "medications",
    "continues",
    "receives",
}
PREGNANCY = Lexicon({phrase(t): t for t in ("pregnant", "weeks gestation", "weeks of gestation", "gravida")})
ENDS = {".", ";", "\n"}
OVERLOOKED = ("allergy:", "with:")


@dataclass(frozen=True)
class Case:
    """What the panel understood. None is "not known"; `key` stands for the text in every draw.

    Who does not heed overlooks the allergies and what the patient takes already, and knows all the rest.
    """

    key: str
    conditions: frozenset[str]
    allergies: frozenset[str]  # drugs and classes
    drugs: frozenset[str]  # taken now
    pregnant: bool | None
    egfr: float | None  # mL/min/1.73 m²
    age: float | None  # years
    heeds: bool = True

    def forbids(self, name: str) -> bool:
        """Whether the drug must not be given here: allergy, pregnancy, kidney, age, disease, another drug."""
        known = knowledge()
        drug = known.drugs[name]
        if self.heeds and {drug.name, drug.group} & self.allergies:
            return True
        taken = {d for d in self.drugs if d != name}
        present = taken | {known.group(d) for d in taken}
        return any(
            self._hits(rule, value, present)
            for rule, value in drug.avoid
            if self.heeds or rule not in OVERLOOKED
        )

    def _hits(self, rule: str, value: str, present: set[str]) -> bool:
        match rule:
            case "pregnant":
                return bool(self.pregnant)
            case "egfr<":
                return self.egfr is not None and self.egfr < float(value)
            case "age<":
                return self.age is not None and self.age < float(value)
            case "age>":
                return self.age is not None and self.age > float(value)
            case "has:":
                return value in self.conditions
            case "with:":
                return value in present
            case "allergy:":
                return value in self.allergies
        raise ValueError(f"no rule {rule!r}")

    def problems(self) -> list[Condition]:
        """The most acute conditions that need something new, by name; the ones without goals need nothing."""
        found = [knowledge().conditions[name] for name in sorted(self.conditions)]
        open_ones = [
            c
            for c in found
            if any(not self._met(goal) for goal in c.goals) or (not c.goals and c.wrong and c.acuity)
        ]
        top = max((c.acuity for c in open_ones), default=0)
        return [c for c in open_ones if c.acuity == top]

    def _met(self, goal: tuple[str, ...]) -> bool:
        return bool(self.drugs & set(goal))

    def open_goals(self, condition: Condition) -> list[tuple[str, ...]]:
        """The goals that nothing the patient takes now meets."""
        return [goal for goal in condition.goals if not self._met(goal)]


def case_text(prompt: str) -> str:
    """What stands between CASE BEGIN and CASE END; the whole prompt where the lines are missing."""
    match = re.search(r"^CASE BEGIN$\n(.*?)\n^CASE END$", prompt, re.DOTALL | re.MULTILINE)
    return match[1] if match else prompt


def read_case(text: str) -> Case:
    """The case that `text` tells; facts of the structured lines and of the sentences are taken together."""
    known = knowledge()
    lines = dict(
        re.findall(r"^(Allergies|Current medications|Pregnant|eGFR|Age): *(.+)$", text, re.MULTILINE)
    )
    tokens = words(re.sub(r"^(Allergies|Current medications):.*$", "", text, flags=re.MULTILINE))
    drugs, allergies = set(), set()
    for at, name in _find(tokens, known.allergy_words):
        if _near(tokens, at, REACTIONS, before=6, after=14) and known.group(name) not in RESCUERS:
            allergies |= {name, known.group(name) or name}
        elif name in known.drugs and _near(tokens, at, TAKING, before=16, after=0):
            drugs.add(name)
    for _, name in _find(words(lines.get("Allergies", "")), known.allergy_words):
        allergies |= {name, known.group(name) or name}
    if "Current medications" in lines:  # the structured list is complete; drugs named in the text may be past
        drugs = {name for _, name in _find(words(lines["Current medications"]), known.drug_words)}
    return Case(
        key=digest(" ".join(text.split())),
        conditions=frozenset(name for _, name in _find(tokens, known.condition_words)),
        allergies=frozenset(allergies),
        drugs=frozenset(drugs - allergies),
        pregnant=_pregnant(tokens, lines.get("Pregnant")),
        egfr=_number(lines.get("eGFR"), text, r"\begfr\b\D{0,25}?(\d+(?:\.\d+)?)"),
        age=_age(lines.get("Age"), text),
    )


def drugs_in(text: str) -> list[str]:
    """The known drugs that `text` names by generic or brand name, in order, denied or not."""
    return [name for _, name in _find(words(text), knowledge().drug_words, all_of_them=True)]


def _find(tokens: list[str], lexicon: Lexicon, all_of_them: bool = False) -> Iterator[tuple[int, str]]:
    """Longest matches from left to right as (position, name); denied ones and relatives' are left out."""
    places = [at for at, word in enumerate(tokens) if word[0].isalnum()]
    plain = [tokens[at] for at in places]
    at = 0
    while at < len(plain):
        match = lexicon.match(plain, at)
        if match and (all_of_them or not _denied(tokens, places[at])):
            yield places[at], match[0]
        at += match[1] if match else 1


def _denied(tokens: list[str], at: int) -> bool:
    """Whether the sentence denies what stands at position `at`, or gives it to a relative."""
    if _near(tokens, at, RELATIVES, before=5, after=0):
        return True
    for word in reversed(tokens[max(0, at - 6) : at]):
        if word in DENIALS:
            return True
        if word in TURNS or word in {*ENDS, ":"}:
            break
    return _near(tokens, at, {"negative", "excluded"}, before=0, after=7)


def _near(tokens: list[str], at: int, wanted: set[str], *, before: int, after: int) -> bool:
    """Whether one of the words stands so many tokens before or after position `at`, in the same sentence."""
    first, last = at, at
    while first > max(0, at - before) and tokens[first - 1] not in ENDS:
        first -= 1
    while last < min(len(tokens), at + after) and tokens[last] not in ENDS:
        last += 1
    return not wanted.isdisjoint(tokens[first:last])


def _pregnant(tokens: list[str], line: str | None) -> bool | None:
    if line is not None:
        return line.strip().lower() == "yes"
    return True if any(_find(tokens, PREGNANCY)) else None


def _number(line: str | None, text: str, pattern: str) -> float | None:
    match = re.search(r"\d+(?:\.\d+)?", line) if line else None
    match = match or re.search(pattern, text, re.IGNORECASE)
    return float(match[match.lastindex or 0]) if match else None


def _age(line: str | None, text: str) -> float | None:
    match = re.search(r"(\d+(?:\.\d+)?)[\s-]*(month|week|year|day)", line or text, re.IGNORECASE)
    if not match:
        return float(line.split()[0]) if line and line.split()[0].replace(".", "", 1).isdigit() else None
    return float(match[1]) / {"year": 1, "month": 12, "week": 52, "day": 365}[match[2].lower()]
