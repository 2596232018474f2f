"""Conditions: how people and FHIR write them, and which drugs treat them first-line (`indications.csv`).

A text is compared word by word with the names of the table, the longest name first, each word of the text at
most once: "Chronic congestive heart failure (disorder)" is heart_failure, "pulmonary hypertension" is not
hypertension. What is denied is no condition of the patient: "no history of asthma or gout", "asthma ruled
out", "family history of stroke"; a past one is ("history of peptic ulcer").
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from shared.errors import KnowledgeError
from shared.medications.classes import classes, members

TABLE = "indications.csv"
COLUMNS = ["condition", "names", "treated_by"]
NONE = "-"
"""Stands for the condition of names that hold another's name and are none ("flu vaccine")."""

_CODE = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_WORD = re.compile(r"[^\W_]+")
_CLAUSE = re.compile(r"[.;\n|]|\b(?:but|however|although|though|except|otherwise)\b")
_DENIAL = re.compile(
    r"\b(?:no|non|none|never|nil|without|den(?:y|ies|ied|ying)|negative for|absence of|free of|absent|"
    r"not(?! (?:well|adequately|fully|optimally|yet|controlled|at goal))|"
    r"rules? out|ruled out|excluded?|unlikely|"
    r"family (?:history|hx)|fhx?|(?:mother|father|sister|brother|parents?|sibling)s? (?:has|had|have|with)|"
    r"(?:prevention|prophylaxis|risk) (?:of|for)|vaccinat\w+|immuni[sz]\w+|screen\w*)\b"
    r"(?!.*, *(?:and )?(?:has|had|have|with|is|was|known|takes|presents)\b)"  # the denial ended before
)
_DENIED_AFTER = re.compile(
    r"\s*[:(-]?\s*(?:(?:is|was|has been) )?(?:(?:ruled out|denied|excluded|absent|unlikely|negative)\b"
    r"|(?:no|none|never)\W*$)"
)
_BARE = re.compile(r"\s*(?:,|/|,? ?\b(?:and|or|nor)\b)\s*|\s*,?\s*\b(?:or|nor)\b.*")


@dataclass(frozen=True)
class _Tables:
    named: Mapping[tuple[str, ...], frozenset[str]]  # words of a name → conditions
    longest: int  # words of the longest name
    conditions: frozenset[str]
    treats: Mapping[str, frozenset[str]]  # ingredient → conditions


def known_conditions() -> frozenset[str]:
    """Every condition code. Raises `KnowledgeError` naming every bad line of the table."""
    return _tables().conditions


def treats(ingredient: str) -> frozenset[str]:
    """The codes of the conditions that an ingredient treats first-line; empty for one that is in no row."""
    return _tables().treats.get(ingredient, frozenset())


def conditions_of(texts: Sequence[str]) -> frozenset[str]:
    """The codes of all conditions that the texts name and do not deny. A code stands for itself."""
    return frozenset(code for text in texts for code in _conditions(text))


@lru_cache(maxsize=8192)
def _conditions(text: str) -> frozenset[str]:
    found: set[str] = set()
    for clause in _CLAUSE.split(unicodedata.normalize("NFKC", text).casefold()):
        denied, last = False, 0
        matches = list(_matches(clause))
        ends = [*(start for start, _, _ in matches[1:]), len(clause)][: len(matches)]
        for (start, end, codes), following in zip(matches, ends, strict=True):
            gap, after = clause[last:start], clause[end:following]
            # A denial goes on through a bare list: "no asthma, gout or COPD", not "no asthma, gout treated".
            goes_on = denied and _BARE.fullmatch(gap) and (_BARE.fullmatch(after) or not after.strip(" )"))
            denied = bool(goes_on or _DENIAL.search(gap))
            if not denied and not _DENIED_AFTER.match(after):
                found |= codes
            last = end
    return frozenset(found)


def _matches(clause: str) -> Iterator[tuple[int, int, frozenset[str]]]:
    """Where names stand (start, end) and the conditions of each, from the left, the longest name first."""
    tables = _tables()
    words = list(_WORD.finditer(clause))
    folded = [_fold(word.group()) for word in words]
    at = 0
    while at < len(words):
        for length in range(min(tables.longest, len(words) - at), 0, -1):
            codes = tables.named.get(tuple(folded[at : at + length]))
            if codes is not None:
                yield words[at].start(), words[at + length - 1].end(), codes
                at += length
                break
        else:
            at += 1


def _key(name: str) -> tuple[str, ...]:
    return tuple(_fold(word) for word in _WORD.findall(unicodedata.normalize("NFKC", name).casefold()))


def _fold(word: str) -> str:
    """A word of lower case without its plural s, British spelling and accents."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    plain = plain.replace("ae", "e").replace("oe", "e").replace("z", "s")
    return plain.removesuffix("s") if len(plain) > 3 else plain


@cache
def _tables() -> _Tables:
    text = resources.files(__package__).joinpath(TABLE).read_text(encoding="utf-8")
    return _parsed(text)


def _parsed(text: str) -> _Tables:
    """The table from its text. Raises `KnowledgeError` naming every bad line."""
    problems: list[str] = []
    named: dict[tuple[str, ...], set[str]] = {}
    conditions: set[str] = set()
    treated: dict[str, set[str]] = {}
    lines = ((n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#")
    first, header = next(lines, (1, ""))
    if header.split(",") != COLUMNS:
        raise KnowledgeError([f"{TABLE}, line {first}: the header must be {','.join(COLUMNS)}"])
    for number, line in lines:
        where = f"{TABLE}, line {number}"
        row = next(csv.reader([line]))
        if len(row) != len(COLUMNS):
            problems.append(f"{where}: {len(row)} fields instead of {len(COLUMNS)}")
            continue
        code, names, by = row[0].strip(), _split(row[1]), _split(row[2])
        if code != NONE and (not _CODE.fullmatch(code) or code in conditions):
            problems.append(
                f"{where}, field condition: {code!r} is no new code (lower case, words joined by _)"
            )
            continue
        if code != NONE:
            conditions.add(code)
        for name in names if code == NONE else [code.replace("_", " "), *names]:
            named.setdefault(_key(name), set()).update(() if code == NONE else (code,))
        for drug in by:
            if drug.startswith("@") and drug[1:] not in classes():
                problems.append(f"{where}, field treated_by: {drug} is no class")
            for ingredient in members(drug[1:]) if drug.startswith("@") else (drug,):
                treated.setdefault(ingredient, set()).add(code)
    if problems:
        raise KnowledgeError(problems)
    return _Tables(
        named={name: frozenset(codes) for name, codes in named.items()},
        longest=max(map(len, named), default=0),
        conditions=frozenset(conditions),
        treats={drug: frozenset(codes) for drug, codes in treated.items()},
    )


def _split(field: str) -> list[str]:
    return [part.strip() for part in field.split(";") if part.strip()]
