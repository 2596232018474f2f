"""An order as written → what it orders: ingredients, strength, form, route, frequency.

The text is read from left to right. At each word the longest name of the table that stands there is taken;
words of form, route, frequency and salt are known and are no names; from "for" or "prn" on a reason is told,
not a drug. What is left is a class name ("a statin"), a misspelling within a bound (`spelling`), or unknown;
nothing is dropped in silence, and a name that is only a part of what was ordered ("potassium" in
"potassium-sparing diuretic", "insulin" beside an unknown word) is not told as the drug.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources

from shared.medications import words as vocabulary
from shared.medications.classes import class_named
from shared.medications.names import Codes, names
from shared.medications.sig import sig
from shared.medications.spelling import Sounder, Speller
from shared.medications.tokens import BREAK, DOSE, SEPARATOR, Tokens, tokens

CACHED = 4096
"""Orders kept by `normalise` (about 1 KiB each)."""

_CODED = re.compile(r"x\d+[dh]?|q\d\w*|\d+(?:st|nd|rd|th|d|x|h|hr|s)?|a?nda\d+|\d+[a-z]?")


@dataclass(frozen=True)
class Order:
    """What an order's text says. What is not said is None, empty or False."""

    text: str
    ingredients: Codes
    """The known ones, sorted."""
    rxcuis: Mapping[str, str]
    """Ingredient → RxNorm concept id, where known."""
    strength: str | None
    """ "40 mg", "150 mg/mL"; of a combination "325 mg / 5 mg"."""
    form: str | None
    route: str | None
    """ "oral", "intravenous", "topical" …; from the form ("tablet") where that leaves no other."""
    frequency: str | None
    """ "twice daily", "every 4-6 hours", "at bedtime" …"""
    prn: bool
    unknown: tuple[str, ...]
    """The parts that are no known drug, as written."""
    classes: tuple[str, ...]
    """Codes of the classes that are named in a drug's place ("statin")."""
    corrected: Mapping[str, str]
    """Misspelling as written → the name it was read as."""


@dataclass
class _Part:
    """The words between two separators."""

    first: int
    last: int = 0
    found: list[tuple[int, int, str]] = field(default_factory=list)  # first word, words, name
    loose: list[int] = field(default_factory=list)  # words that nothing explains
    told: list[int] = field(default_factory=list)  # of these, what stands where a drug's name stands
    insides: list[str] = field(default_factory=list)


@dataclass
class _Reading:
    known: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    corrected: dict[str, str] = field(default_factory=dict)


@lru_cache(maxsize=CACHED)
def normalise(text: str) -> Order:
    """Read an order. Any text gives an Order; the same text gives the same one."""
    found = tokens(text)
    reading = _Reading()
    _read(found, reading)
    known = tuple(sorted(c for c in reading.known if not (c == "insulin" and _kinds(reading.known))))
    if not (known or reading.unknown or reading.classes) and (bare := text.strip()):
        reading.unknown.append(bare)
    said = sig(found, several=len(known) > 1)
    rxcuis = names().rxcuis
    return Order(
        text=text,
        ingredients=known,
        rxcuis={code: rxcuis[code] for code in known if code in rxcuis},
        strength=said.strength,
        form=said.form,
        route=said.route,
        frequency=said.frequency,
        prn=said.prn,
        unknown=tuple(dict.fromkeys(reading.unknown)),
        classes=tuple(dict.fromkeys(reading.classes)),
        corrected=reading.corrected,
    )


def _kinds(known: set[str]) -> bool:
    """Whether "insulin" only says again what "insulin glargine" says."""
    return any(code.startswith("insulin ") for code in known)


def _read(found: Tokens, reading: _Reading) -> None:
    parts = _scan(found)
    for _ in range(4):
        if not _repair(found, parts, reading):
            break
        parts = _scan(found)
    for part in parts:
        _settle(part, found, reading)
    if not (reading.known or reading.unknown or reading.classes):  # "for pain: Norco", "1 tab prn pain Norco"
        codes = names().codes
        last = _scan(found, heed_asides=False)
        if not any(found.words[i] in vocabulary.NOT_THE_DRUG for part in last for i in part.loose):
            reading.known.update(c for part in last for _, _, name in part.found for c in codes[name])


def _scan(found: Tokens, *, heed_asides: bool = True) -> list[_Part]:
    """The parts of a text, each with the names in it and the words that nothing explains."""
    table = names()
    words, gaps = found.words, found.gaps
    parts: list[_Part] = []
    part: _Part | None = None
    aside = after = False  # within a reason; after a name's dose or manner
    i, size = 0, len(words)
    while i < size:
        gap, word = gaps[i], words[i]
        if part is not None and gap & DOSE:
            after = bool(part.found)
            part.told[:] = part.loose  # what has a dose is a drug
        if part is None or gap & (SEPARATOR | BREAK):
            aside = aside and not gap & BREAK
            after = False
            part = _Part(i)
            parts.append(part)
        part.last = i
        count = _match(table.codes, table.longest, words, gaps, i)
        if count and not _only_salt(part, words, gaps, i, count):
            if not aside or _dosed_after(found, i + count):
                aside = False
                part.found.append((i, count, " ".join(words[i : i + count])))
            part.last = i + count - 1
            i += count
            continue
        if word in vocabulary.JOINS:
            part = _Part(i, i)
            parts.append(part)
            after = False
        elif word in vocabulary.ASIDES:
            aside = heed_asides
        elif (word in vocabulary.KNOWN or _CODED.fullmatch(word)) and not _strange(part, found, i):
            certain = part.found and part.found[-1][2] not in table.partial
            after = after or (bool(certain) and word not in vocabulary.SALTS)
        elif not aside and not count:
            part.loose.append(i)
            if not after:
                part.told.append(i)
        i += 1
    if part is not None and found.dosed_at_end:
        part.told[:] = part.loose
    for at, inside in found.insides:
        holder = next((p for p in reversed(parts) if p.first < at), None)
        if holder is None or (not holder.found and not holder.loose and holder.first == at):
            holder = _Part(at, at - 1)
            parts.insert(0, holder)
        holder.insides.append(inside)
    return parts


def _match(
    codes: Mapping[str, Codes], longest: Mapping[str, int], words: list[str], gaps: list[int], i: int
) -> int:
    """How many words the longest name at a word has; 0 where none stands there."""
    most = min(longest.get(words[i], 0), len(words) - i)
    if not most:
        return 0
    for j in range(i + 1, i + most):
        if gaps[j] & (BREAK | DOSE):
            most = j - i
            break
    for count in range(most, 1, -1):
        if " ".join(words[i : i + count]) in codes:
            return count
    return int(words[i] in codes)


def _only_salt(part: _Part, words: list[str], gaps: list[int], i: int, count: int) -> bool:
    """Whether a name is no drug here: a salt ("losartan potassium"), a form ("albuterol inh")."""
    if count > 1:
        return False
    before = part.found[-1] if part.found else None
    if words[i] in vocabulary.NAMED_FORMS:
        return before is not None
    if words[i] not in vocabulary.SALTS:
        return False
    if before and before[0] + before[1] == i and not gaps[i]:
        return words[i - 1] not in vocabulary.MINERALS and words[i - 1] != "iron"
    if words[i] not in vocabulary.MINERALS:
        return False
    after = i + 1
    return (
        after < len(words)
        and not gaps[after]
        and words[after] in names().codes
        and words[after].endswith("ate")
    )


def _strange(part: _Part, found: Tokens, i: int) -> bool:
    """Whether a known word beside part of a longer name says another thing: "insulin syringes"."""
    if found.words[i] not in vocabulary.DEVICES or not part.found:
        return False
    first, count, name = part.found[-1]
    return first + count == i and not found.gaps[i] and name in names().partial


def _dosed_after(found: Tokens, after: int) -> bool:
    """Whether a dose follows a name at once: then it is an order, also within a reason."""
    return bool(found.gaps[after] & DOSE) if after < len(found.words) else found.dosed_at_end


def _repair(found: Tokens, parts: list[_Part], reading: _Reading) -> bool:
    """Join or correct the first words that nothing explains; whether anything was changed."""
    known = names().words
    changed = False
    for part in parts:
        if not part.told or _class(part, found):
            continue
        for i in part.told:
            for first in (i, i - 1):
                joined = "".join(found.words[first : first + 2]) if first >= 0 else ""
                if len(joined) < 6 or joined not in known or not joined.isalpha():
                    continue
                if first + 1 < len(found.words) and not found.gaps[first + 1] & (BREAK | DOSE):
                    reading.corrected[found.written(first, first + 1)] = joined
                    found.join(first)
                    return True
            meant = _meant(found.words[i])
            if meant:
                if meant in known:
                    reading.corrected[found.written(i, i)] = meant
                found.words[i] = meant
                changed = True
    return changed


def _settle(part: _Part, found: Tokens, reading: _Reading) -> None:
    """Tell what a part orders."""
    codes, partial = names().codes, names().partial
    known = {code for _, _, name in part.found for code in codes[name]}
    told = part.told
    if told:
        if class_ := _class(part, found):
            meant = [inner for inner in map(_inside, part.insides) if inner.known and not inner.unknown]
            for inner in meant:  # "beta-blocker (metoprolol)"
                reading.known |= inner.known
                reading.corrected |= inner.corrected
            if not meant:
                reading.classes.append(class_)
            return
        doubtful = any(name in partial for _, _, name in part.found)
        if doubtful or any(found.words[i] in vocabulary.NOT_THE_DRUG for i in told):
            whole = sorted([*told, *(j for i, count, _ in part.found for j in (i, i + count - 1))])
            reading.unknown.append(found.written(whole[0], whole[-1]))
            return
    if part.insides and not (known and told):
        within = [_inside(inside) for inside in part.insides]
        for inner in within:
            settled = inner.known and not inner.unknown
            if settled and (
                not known or inner.known > known or (known == {"insulin"} and _kinds(inner.known))
            ):
                reading.known |= inner.known
                reading.corrected |= inner.corrected
                return
        if not known and not told:
            for inner in within:
                reading.known |= inner.known
                reading.unknown += inner.unknown
                reading.classes += inner.classes
                reading.corrected |= inner.corrected
    reading.known |= known
    reading.unknown += [found.written(run[0], run[-1]) for run in _runs(told)]


def _inside(text: str) -> _Reading:
    """What stands in brackets, read by itself."""
    inner = _Reading()
    _read(tokens(text), inner)
    return inner


def _runs(places: list[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for i in sorted(places):
        if run and i != run[-1] + 1:
            yield run
            run = []
        run.append(i)
    if run:
        yield run


def _class(part: _Part, found: Tokens) -> str | None:
    """The class that the words of a part name, with or without the words that explain themselves."""
    words = found.words[part.first : part.last + 1]
    telling = [w for w in words if w not in vocabulary.KNOWN and not _CODED.fullmatch(w)]
    loose = [found.words[i] for i in part.told]
    worded = [w for w in words if not _CODED.fullmatch(w)]
    return class_named(" ".join(worded)) or class_named(" ".join(telling)) or class_named(" ".join(loose))


def _meant(word: str) -> str | None:
    """The known word an unknown one is read as; by its sound only where it is no slip with another."""
    meant = _speller().read(word)
    sounded = None if meant else _sounder().read(word)
    return meant or (None if sounded is None or _speller().near(word, sounded) else sounded)


@cache
def _speller() -> Speller:
    table = names()
    meanings = {word: table.codes.get(word, (word,)) for word in table.words}
    meanings |= dict.fromkeys(vocabulary.KNOWN - table.words, ("",))
    return Speller(meanings, _never())


@cache
def _sounder() -> Sounder:
    table = names()
    return Sounder({word: table.codes.get(word, (word,)) for word in table.words}, _never())


def _never() -> frozenset[str]:
    """Words that are not misspelled though they stand near a drug's name (`right_words.txt`)."""
    text = resources.files(__package__).joinpath("right_words.txt").read_text(encoding="utf-8")
    return frozenset(w for line in text.splitlines() if not line.startswith("#") for w in line.split())
