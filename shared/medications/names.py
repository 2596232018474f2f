"""The names of the table (`ingredients.csv`, `abbreviations.csv`) → ingredient codes and RxNorm ids."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

Codes = tuple[str, ...]

_NOT_WORD = re.compile(r"[\W_]+")
_MARKS = str.maketrans("", "", "®™©'’")


@dataclass(frozen=True)
class Names:
    """What is known by name. Names are keys (`key(fold(name))`), ingredients are sorted codes."""

    codes: Mapping[str, Codes]
    rxcuis: Mapping[str, str]
    """Ingredient code → RxNorm concept id, where known."""
    longest: Mapping[str, int]
    """First word of names → how many words the longest of these names has."""
    words: frozenset[str]
    """All words that occur in names."""
    partial: frozenset[str]
    """Names that begin or end a longer one without being part of what it means: "insulin", "potassium"."""


def fold(text: str) -> str:
    """Compatibility form, lower case, without accents, trade marks and apostrophes."""
    if text.isascii():
        return text.lower().replace("'", "") if "'" in text else text.lower()
    decomposed = unicodedata.normalize("NFKD", text.translate(_MARKS).casefold()).casefold()
    return "".join(c for c in decomposed if not unicodedata.combining(c) and unicodedata.category(c) != "Cf")


def key(folded: str) -> str:
    """Letters and digits, single spaces: what names are compared by."""
    return folded if folded.isalnum() else _NOT_WORD.sub(" ", folded).strip()


@cache
def names() -> Names:
    """The table, read once. Raises `ValueError` if one name stands for two things."""
    codes: dict[str, Codes] = {}
    rxcuis: dict[str, str] = {}
    for codes_, rxcui, *others in _records("ingredients.csv", "ingredients", "rxcui", "synonyms", "brands"):
        meant = tuple(sorted(codes_.split(" + ")))
        if rxcui and len(meant) == 1:
            rxcuis[codes_] = rxcui
        for code in meant:
            _add(codes, code, (code,), "ingredients.csv")
        for field in (codes_, *others):
            for name in field.split(";"):
                _add(codes, name, meant, "ingredients.csv")
    for written, means in _records("abbreviations.csv", "written", "means"):
        parts = [key(fold(name)) for name in means.split(" + ")]
        unheard = [name for name in parts if name not in codes]
        if unheard:
            raise ValueError(f"abbreviations.csv: {written!r}: {unheard[0]!r} is not in ingredients.csv")
        _add(codes, written, tuple(sorted({c for name in parts for c in codes[name]})), "abbreviations.csv")
    return Names(codes, rxcuis, *_words(codes))


def _add(codes: dict[str, Codes], name: str, meant: Codes, file: str) -> None:
    if name and codes.setdefault(key(fold(name)), meant) != meant:
        raise ValueError(f"{file}: {name!r} stands for two things")


def _words(codes: Mapping[str, Codes]) -> tuple[dict[str, int], frozenset[str], frozenset[str]]:
    """See `Names`: `longest`, `words`, `partial`."""
    longest: dict[str, int] = {}
    words: set[str] = set()
    partial: set[str] = set()
    for name, meant in codes.items():
        parts = name.split()
        first = parts[0]
        if longest.get(first, 0) < len(parts):
            longest[first] = len(parts)
        words.update(parts)
        whole = set(meant)
        for cut in range(1, len(parts)):
            for piece in (" ".join(parts[:cut]), " ".join(parts[cut:])):
                if not set(codes.get(piece, ())) <= whole:
                    partial.add(piece)
    return longest, frozenset(words), frozenset(partial)


def _records(file: str, *columns: str) -> Iterator[list[str]]:
    """The rows of a table. Raises `ValueError` where it has other columns."""
    text = resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
    rows = csv.reader(line for line in text.splitlines() if not line.startswith("#"))
    if tuple(next(rows)) != columns:
        raise ValueError(f"{file}: the columns must be {', '.join(columns)}")
    return rows
