"""Classes of drugs and their members: `classes.csv` (therapeutic, allergy), `groups.csv` (mechanisms).

Both are CSV (UTF-8, lines that start with `#` are comments) with the columns `class,names,members`: a code
("ace_inhibitor"), the names by which people write it, and the members, which are ingredient codes or
`@other_class`, each field separated by ";". A class holds all members of the classes it names.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from shared.errors import KnowledgeError

TABLES = ("classes.csv", "groups.csv")
COLUMNS = ["class", "names", "members"]

_CODE = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_WORD = re.compile(r"[^\W_]+")
_FILLER = re.compile(
    r"an?|any|all|the|some|other|most|of|class(es)?|family|group|type|antibiotics?|agents?|drugs?"
    r"|medications?|medicines?|preparations?|products?"
)


@dataclass(frozen=True)
class _Tables:
    members: Mapping[str, frozenset[str]]  # class → ingredients
    classes: Mapping[str, frozenset[str]]  # ingredient → classes
    named: Mapping[str, str]  # key of a name → class


def classes() -> Mapping[str, frozenset[str]]:
    """Every class code → its ingredient codes. Raises `KnowledgeError` naming every bad line."""
    return _tables().members


def members(class_: str) -> frozenset[str]:
    """The ingredient codes of a class; empty for what is no class."""
    return _tables().members.get(class_, frozenset())


def classes_of(ingredient: str) -> frozenset[str]:
    """The codes of all classes that hold an ingredient; empty for one that is in none."""
    return _tables().classes.get(ingredient, frozenset())


@lru_cache(maxsize=4096)
def class_named(text: str) -> str | None:
    """The code of the class that a text names ("a statin", "NSAIDs", "ACE-inhibitor"), or None.

    Case, hyphens, articles, plurals and words such as "drugs" or "class" do not matter; anything more does:
    "a statin for the heart" names none. A name may be that of an ingredient too ("penicillin", "insulin").
    """
    return _tables().named.get(_key(text))


def _key(text: str) -> str:
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    telling = [word for word in words if not _FILLER.fullmatch(word)] or words
    return " ".join(word.removesuffix("s") if len(word) > 3 else word for word in telling)


@cache
def _tables() -> _Tables:
    problems: list[str] = []
    direct: dict[str, list[str]] = {}
    named: dict[str, str] = {}
    for name in TABLES:
        table = resources.files(__package__).joinpath(name)
        if table.is_file():
            _read(name, table.read_text(encoding="utf-8"), direct, named, problems)
    whole = {code: _members(code, direct, (), problems) for code in direct}
    if problems:
        raise KnowledgeError(problems)
    held: dict[str, set[str]] = {}
    for code, ingredients in whole.items():
        for ingredient in ingredients:
            held.setdefault(ingredient, set()).add(code)
    return _Tables(whole, {drug: frozenset(codes) for drug, codes in held.items()}, named)


def _read(
    table: str, text: str, direct: dict[str, list[str]], named: dict[str, str], problems: list[str]
) -> None:
    """Add a table's classes and names to `direct` and `named`, and its bad lines to `problems`."""
    lines = ((n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#")
    first, header = next(lines, (1, ""))
    if header.split(",") != COLUMNS:
        problems.append(f"{table}, line {first}: the header must be {','.join(COLUMNS)}")
        return
    for number, line in lines:
        where = f"{table}, line {number}"
        row = next(csv.reader([line]))
        if len(row) != len(COLUMNS):
            problems.append(f"{where}: {len(row)} fields instead of {len(COLUMNS)}")
            continue
        code, names, held = (field.strip() for field in row)
        if not _CODE.fullmatch(code) or code in direct:
            problems.append(f"{where}, field class: {code!r} is no new code (lower case, words joined by _)")
            continue
        direct[code] = [part.strip() for part in held.split(";") if part.strip()]
        if not direct[code]:
            problems.append(f"{where}, field members: {code} has none")
        for name in [code, *filter(None, (part.strip() for part in names.split(";")))]:
            if named.setdefault(_key(name), code) != code:
                problems.append(f"{where}, field names: {name!r} names {named[_key(name)]} already")


def _members(
    code: str, direct: Mapping[str, list[str]], inside: tuple[str, ...], problems: list[str]
) -> frozenset[str]:
    found: set[str] = set()
    for part in direct[code]:
        nested = part.removeprefix("@")
        if nested == part:
            found.add(part)
        elif nested not in direct or nested in (*inside, code):
            reason = "holds itself" if nested in direct else "is no class"
            problems.append(f"class {code}, field members: @{nested} {reason}")
        else:
            found |= _members(nested, direct, (*inside, code), problems)
    return frozenset(found)
