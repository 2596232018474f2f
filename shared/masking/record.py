"""What the structured record gives beside names: identifiers, addresses, contacts, however written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from shared.blind import skeleton
from shared.masking.places import WIDE
from shared.masking.spans import Kind, Reading, Span, compact
from shared.masking.words import AMBIGUOUS, is_drug, no_names
from shared.medications.words import word_set
from shared.schemas import Identity

_CUE = r"(?:\b(?:id|mrn|record|chart|account|no|nr|number|room|bed|policy|member)\b\.?|#)[\s:#]{0,3}"
_SEPARATORS = r"[\s\-./_]{0,2}"
_ABBREVIATED = {
    "street": "st", "avenue": "ave", "road": "rd", "boulevard": "blvd", "lane": "ln", "drive": "dr",
    "court": "ct", "circle": "cir", "place": "pl", "terrace": "ter", "parkway": "pkwy",
    "highway": "hwy", "square": "sq", "apartment": "apt", "suite": "ste",
    "north": "n", "south": "s", "east": "e", "west": "w", "saint": "st",
}  # fmt: skip
_WHOLE = {short: long for long, short in _ABBREVIATED.items()}
_POSTAL = re.compile(r"\d{5}(?:-?\d{4})?|[a-z]{1,2}\d[a-z\d]? ?\d[a-z]{2}|[a-z]\d[a-z] ?\d[a-z]\d|\d{4,6}")


@dataclass(frozen=True)
class Entry:
    """One value of the record and how it is found; `as_place`: only with a capital, as a place is written."""

    kind: Kind
    key: str
    value: str
    pattern: re.Pattern[str]  # on the skeleton
    as_place: bool = False


def entries(identity: Identity) -> list[Entry]:
    """What is to be looked for, the longest first within a kind."""
    found: list[Entry] = []
    for value in identity.identifiers:
        found += _identifier(value)
    for value in identity.contacts:
        found += _contact(value)
    for value in identity.addresses:
        found += _address(value)
    return list({(entry.kind, entry.key): entry for entry in found}.values())


def entry_of(kind: Kind, value: str) -> Iterator[Entry]:
    """An identifier or a contact that a text gives, to be found however it is written elsewhere."""
    for entry in _identifier(value) if kind == "identifier" else _contact(value):
        if len(entry.key) > 4:
            yield replace(entry, key=compact(value))


def recorded(known: Iterable[Entry], reading: Reading) -> Iterator[Span]:
    """Where the text holds any of it."""
    text = reading.text
    for entry in known:
        for match in entry.pattern.finditer(reading.looks):
            start, end = match.span("it")
            if entry.as_place and not _stands_as_place(text, start, end):
                continue
            yield Span(start, end, entry.kind, entry.key)


def _identifier(value: str) -> Iterator[Entry]:
    key = compact(value)
    if not key:
        return
    body = _SEPARATORS.join(map(re.escape, key))
    # a short number is a number like any other, unless something says what it is
    cue = _CUE if len(key) < 4 or (key.isdigit() and len(key) < 5) else r"(?<![^\W_])"
    yield Entry("identifier", key, value, re.compile(rf"{cue}(?P<it>{body})(?![^\W_])"))


def _contact(value: str) -> Iterator[Entry]:
    digits = re.sub(r"\D", "", value)
    if "@" in value or re.search(r"[a-z]", value, re.IGNORECASE) or len(digits) < 6:
        plain = skeleton(value).strip().removeprefix("mailto:").removeprefix("tel:")
        if re.search(r"\w", plain):
            yield Entry(
                "contact", compact(plain), value, re.compile(rf"(?<!\w)(?P<it>{re.escape(plain)})(?!\w)")
            )
        return
    local = digits[1:] if len(digits) == 11 and digits[0] == "1" else digits
    body = r"[\s\-./()]{0,3}".join(local)
    yield Entry(
        "contact", local, value, re.compile(rf"(?<!\d)(?P<it>(?:\+|00)?(?:1[\s\-./]?)?\(?{body})(?!\d)")
    )


def _address(value: str) -> Iterator[Entry]:
    """The line as a whole, each of its parts between commas, and a postal code within."""
    parts = [part.strip() for part in value.split(",")]
    tails = [m[1] for part in parts if (m := re.search(r"\s(\d{5}(?:-\d{4})?)$", part))]
    parts += [re.sub(r"\s+(?:[A-Z]{2}\s+)?\d{5}(?:-\d{4})?$", "", part) for part in parts] + tails
    for part in dict.fromkeys([value.strip(), *parts]):
        plain, key = skeleton(part), compact(part)
        words = re.findall(r"[^\W_]+", plain)
        if len(key) < 2 or key in WIDE:
            continue
        numbered = any(char.isdigit() for char in key)
        if numbered and len(words) == 1 and not _POSTAL.fullmatch(plain):
            continue  # "12" alone is no address
        body = r"[\s,.#\-]{1,3}".join(
            "(?:" + "|".join(sorted({w, _ABBREVIATED.get(w, w), _WHOLE.get(w, w)})) + ")" for w in words
        )
        kind: Kind = "address" if numbered else "place"
        yield Entry(kind, key, part, re.compile(rf"(?<![\w.])(?P<it>{body})(?![\w])"), as_place=not numbered)


def _stands_as_place(text: str, start: int, end: int) -> bool:
    """A place that is also a word (Reading, Mobile, Normal) stands with a capital within a sentence."""
    word = skeleton(text[start:end])
    if " " in word:
        return True
    if is_drug(word) or not text[start].isupper():
        return not is_drug(word) and word not in AMBIGUOUS | no_names() and word not in _PLACES_AS_WORDS
    if word in AMBIGUOUS or word in no_names() or word in _PLACES_AS_WORDS:
        return bool(re.search(r"\w,?[ \t]+$", text[max(0, start - 4) : start]))
    return True


_PLACES_AS_WORDS = word_set(
    """
    reading mobile normal orange bath nice cork bend surprise temple corning defiance
    """
)
