"""What identifies by its shape, whatever the record says: what 45 CFR 164.514(b)(2)(i) names, but dates.

Clinical numbers are told apart by what stands around them: a run of digits is an identifier where a word says
so, where its shape is one (a telephone, a social security number), or where it is long and has no unit.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from shared.masking.dates import old
from shared.masking.names import RELATIVES
from shared.masking.spans import Kind, Reading, Span, compact
from shared.medications.words import word_set

_UP = "A-ZÀ-ÖØ-Þ"
_NO_UNIT = (
    r"(?!\d*\s?(?:mg|mcg|µg|μg|g|kg|ml|l|units?|iu|u|meq|mmol|mm|cm|%|copies|cfu|cells|colonies|platelets|/|x\s?10|per\b|°)"
    r"(?![^\W\d_]))"
)

# A word that says that an identifier follows.
_NUMBER_OF = word_set(
    """
    mrn m record chart account acct policy insurance member subscriber group claim case encounter
    visit accession specimen order patient passport license licence certificate serial device
    registration confirmation hospital nhs medicare medicaid card beneficiary prescription tax
    employee badge room id npi dea vin udi ssn s security
    """
)
_IDENTIFIED = re.compile(
    r"(?:(?:MRN|M\.R\.N\.|NPI|DEA|VIN|UDI|SSN|S\.S\.N\.|ID(?=:|\s?#)|security|passport)|\w+(?=[ \t]?[:#]))"
    r"(?:[ \t](?:id|identifier|number|num|no)\b\.?)?[ \t]*(?:is|was|[=:#]{1,2})?[ \t]*#?"
    r"(?P<it>(?=[\w./-]*\d)[a-z0-9](?:[\w/.-]|[ ](?=\d{2,}\b)){2,24}[a-z0-9])" + _NO_UNIT
    + r"|\w+[ \t](?:id|identifier|number|num|no)\b\.?[ \t]*(?:is|was|[=:#]{1,2})?[ \t]*#?"
    r"(?P<too>(?=[\w./-]*\d)[a-z0-9](?:[\w/.-]|[ ](?=\d{2,}\b)){2,24}[a-z0-9])" + _NO_UNIT,
    re.IGNORECASE,
)  # fmt: skip

# "Case: 58-year-old", "Order: 40mg", "Visit: 145/90", "Device: 3.5x18mm": these head prose as well as numbers
_HEADINGS = word_set(
    "case encounter visit order device prescription patient hospital room record chart plan group card"
)
_HEADING = re.compile(rf"(?:{'|'.join(sorted(_HEADINGS))})\b", re.IGNORECASE)
_QUANTITY = re.compile(
    r"\d{1,4}(?:[.,/-]\d{1,4})*(?:x\d[\d.]*)?(?:mg|mcg|[µμ]g|g|kg|ml|l|units?|iu|u|meq|mmol|mm|cm|x|fr)(?:[/.-][\w./-]*)?"
    r"|\d{2,3}/\d{2,3}|\d{1,3}-?(?:y/?o|y\.o\.|years?|yr|month|week|day|hour)[\w./-]*",
    re.IGNORECASE,
)

_CALL = word_set("tel telephone phone ph cell mobile fax pager beeper call voicemail whatsapp ext extension")
_CALL_PERHAPS = word_set("called back contact reached number home work office")
# 150/90, 7.21/68 and 03/04/2021 are no telephones
_NO_CALL = (
    r"(?!\(?(?:[1-9]\d{1,2}/\d{2,3}(?!\d|[-./ ]\d{4})|[67]\.\d\d?(?!\d)"
    r"|\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)?\d\d(?![-/.]?\d)|(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?(?!\d)))"
)
_MORE_DIGITS = r"(?:[()/. \-]{0,3}\d){5,14}(?!\d)"
_IS_AT = r"(?:is|at|on|no\.?|number)[: ]+"
_CALLED = re.compile(
    rf"(?!pH\b)(?i:\w+\b\W{{0,3}}(?:{_IS_AT})?{_NO_CALL}(?P<it>\+?\(?\d{_MORE_DIGITS}){_NO_UNIT})"
)
_CALLED_PERHAPS = re.compile(  # with a trunk prefix, or grouped as a telephone behind a word that says where
    rf"\w+\b\W{{0,3}}(?:{_IS_AT})?{_NO_CALL}(?P<it>(?:\+|\(?0(?=\d))\d{_MORE_DIGITS}){_NO_UNIT}"
    rf"|\w+(?:[ \t]*:|[ \t]+(?=is|at|on|no|number))[ \t]*(?:{_IS_AT})?"
    rf"(?P<too>\d{{3}}[. -]\d{{4}}(?!\d)){_NO_UNIT}",
    re.IGNORECASE,
)

_STREET = (
    r"Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Circle|Cir|Way|Place|Pl|Terrace|Ter|Parkway|"
    r"Pkwy|Highway|Hwy|Square|Sq|Trail|Trl|Close|Crescent|Row|Alley|Turnpike|Plaza|Loop|Path|Walk"
)
# What begins with a digit.
_AT_DIGITS: list[tuple[Kind, re.Pattern[str]]] = [
    ("identifier", re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])|(?<![\w.])\d{3} \d{2} \d{4}(?!\w)")),
    (
        "identifier",
        re.compile(rf"(?<![\w.,/-])(?!\d*0000)\d{{8,20}}(?![\w/]|[.,]\d){_NO_UNIT}|(?<=[^\w]#)\d{{5,}}\b"),
    ),
    (
        "contact",
        re.compile(
            r"(?:1[-. ]?)?(?:\(\d{3}\)\s?|\d{3}[-. ])\d{3}[-. ]\d{4}(?:\s?(?:x|ext\.?)\s?\d{1,5})?(?!\w)"
        ),
    ),
    ("contact", re.compile(r"(?<=\+)\d{1,3}(?:[-. /]?\(?\d{1,4}\)?){2,6}(?!\w)")),
    ("contact", re.compile(r"(?<=\()\d{3}\)\s?\d{3}[-. ]\d{4}(?:\s?(?:x|ext\.?)\s?\d{1,5})?(?!\w)")),
    ("contact", re.compile(r"(?<![\w.-])\d{3}-\d{4}(?![\w-]|\.\d)" + _NO_UNIT)),
    ("contact", re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.]\w)")),
    (
        "address",
        re.compile(
            rf"\d{{1,6}}[A-Z]?[ \t]+(?:[NSEW]{{1,2}}\.?[ \t]+|North |South |East |West )?"
            rf"(?:(?:[{_UP}][\w'’.-]*|\d{{1,3}}(?:st|nd|rd|th))[ \t]+){{1,4}}?(?:{_STREET})\b\.?"
            r"(?:,?[ \t]*(?:Apt|Apartment|Suite|Ste|Unit|Bldg|Floor|Fl|#)\.?[ \t]*#?[\w-]+)?"
        ),
    ),
]
# What begins with one of these words.
_AT_WORDS: list[tuple[Kind, frozenset[str], re.Pattern[str]]] = [
    ("address", frozenset(("p", "po")), re.compile(r"P\.?[ \t]?O\.?[ \t]?Box[ \t]+\d+", re.IGNORECASE)),
    ("address", frozenset(("apt", "apartment")), re.compile(r"(?:Apt|Apartment)\.?[ \t]*#?\d+\w?\b")),
    (
        "address",
        word_set("zip postal postcode post"),
        re.compile(
            r"(?:zip|postal|post)[ -]?(?:code)?\W{0,3}(?P<it>\d{5}(?:-\d{4})?\b|"
            r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b)",
            re.IGNORECASE,
        ),
    ),
    ("contact", _CALL, _CALLED),
    ("contact", _CALL_PERHAPS, _CALLED_PERHAPS),
]
# What is looked for where this mark is in the text.
_MARKED: list[tuple[Kind, str, re.Pattern[str]]] = [
    ("contact", "@", re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")),
    ("contact", "://", re.compile(r"\b(?:https?|ftp)://[^\s<>\"'\])]+", re.IGNORECASE)),
    ("contact", "www.", re.compile(r"\bwww\.[^\s<>\"'\])]+", re.IGNORECASE)),
    *(
        (
            "contact",
            f".{end}",
            re.compile(rf"\b(?:[a-z0-9-]{{1,63}}\.){{1,8}}{end}\b(?:/[^\s<>\"')]*)?", re.IGNORECASE),
        )
        for end in ("com", "org", "net", "edu", "gov", "io", "health", "info", "co.uk")
    ),
    ("contact", ":", re.compile(r"\b(?:[0-9a-fA-F]{1,4}:){4,7}[0-9a-fA-F]{1,4}\b")),
    ("identifier", "-", re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)),
]

_OVER_89 = r"(?:9\d|1[0-2]\d)"
_OLD_AFTER = re.compile(
    rf"{_OVER_89}(?:(?:\.\d)?[\s-]*(?:years?|yrs?)[\s-]*(?:old|of age)\b"
    r"|[\s-]*(?:y/o|yo|y\.o\.|yr-old)(?=(?:aa|[wbah])?[fm]?(?!\w)))",
    re.IGNORECASE,
)
_OLD_BEFORE = re.compile(r"\b(?:aged?|turned|turning|age of)[ \t]*[:=]?[ \t]*$", re.IGNORECASE)
_OLD_NUMBER = re.compile(
    rf"{_OVER_89}(?:\.\d)?(?:[ \t]+(?:years?|yrs?)(?:[ \t]+old)?)?(?![\w%/]|\.\d)|{_OVER_89}(?=[FM]\b)"
)
_OLD_ASIDE = re.compile(rf"{_OVER_89}(?=,?[ \t]*(?:male|female|man|woman)\b)", re.IGNORECASE)
# 94F, 94 M: degrees and metres are written so too, so a person must stand around them
_OLD_SEX = re.compile(rf"{_OVER_89}(?=[ \t]?[FM]\b(?!/|[ \t-]*(?:fever|temp\w*|walk|run)\b))")
_OLD_SEX_BEFORE = re.compile(
    r"(?<!spiked )(?<!ran )(?<!had )\b(?:an?|the|this|our|pt|patient|elderly|frail|pleasant)[ \t]+$",
    re.IGNORECASE,
)
_OLD_SEX_AFTER = re.compile(
    rf"{_OVER_89}[ \t]?[FM][ \t]+(?:(?:w/|s/p|h/o|c/o|p/w)|(?:with|who|presents|presenting|admitted|hx)\b)"
)
_BEGINS = re.compile(r"(?:^|[.;:!?\n])\s*$")
_BEHIND_NAME = re.compile(r"[ \t]*[(,][ \t]*$|[ \t]+$")
_OLD_BARE = re.compile(rf"{_OVER_89}(?=[FM]?[ \t]*[),])")
_OLD_WORDS = re.compile(
    r"(?:ninety(?:[ -](?:one|two|three|four|five|six|seven|eight|nine))?|"
    r"(?:one )?hundred(?:[ -]and)?(?:[ -]\w+)?)[ -]years?[ -](?:old|of age)\b",
    re.IGNORECASE,
)


def shaped(reading: Reading) -> Iterator[Span]:
    """Every identifier, contact and address that its shape or a word beside it gives away."""
    text = reading.plain
    for start in reading.digits:
        if start and text[start - 1].isalnum():
            continue
        for kind, pattern in _AT_DIGITS:
            if (match := pattern.match(text, start)) is not None:
                begin = start - 1 if text[start - 1 : start] in ("+", "(") and kind == "contact" else start
                yield Span(begin, match.end(), kind, compact(match[0]))
    for kind, words, pattern in _AT_WORDS:
        for start in reading.at(words):
            if (match := pattern.match(text, start)) is not None:
                begin, end = match.span(match.lastgroup or 0)
                if kind != "contact" or 7 <= sum(char.isdigit() for char in text[begin:end]) <= 15:
                    yield Span(begin, end, kind, compact(text[begin:end]))
    for start in reading.at(_NUMBER_OF):
        if (match := _IDENTIFIED.match(text, start)) is not None:
            begin, end = match.span(match.lastgroup or 0)
            if match["it"] and _HEADING.match(text, start) and _QUANTITY.fullmatch(text, begin, end):
                continue
            yield Span(begin, end, "identifier", compact(text[begin:end]))
    for kind, mark, pattern in _MARKED:
        if mark in text:
            for match in pattern.finditer(text):
                yield Span(match.start(), match.end(), kind, compact(match[0]))


def ages(reading: Reading, names: Collection[int]) -> Iterator[Span]:
    """Every age over 89; `names`: where names end, since "Okafor (94)" is an age and "HR (94)" is none."""
    text = reading.plain
    kin = {start + len(word) for word in RELATIVES for start in reading.starts.get(word, ())}
    names = kin.union(names)
    for start in reading.digits:
        if text[start] not in "91" or (start and (text[start - 1].isalnum() or text[start - 1] in "./-")):
            continue
        match = _old_at(text, start, names)
        if match is not None:
            yield Span(start, match.end(), "age", "90", old(90))
    for start in reading.at(("ninety", "hundred", "one")):
        if (match := _OLD_WORDS.match(text, start)) is not None:
            yield Span(start, match.end(), "age", "90", old(90))


def _old_at(text: str, start: int, names: Collection[int]) -> re.Match[str] | None:
    """The age over 89 that begins here, if one does."""
    before = text[max(0, start - 20) : start]
    gap = _BEHIND_NAME.search(before)
    named = gap is not None and start - len(gap[0]) in names
    aside = before.rstrip().endswith((",", "("))
    a_person = named or _OLD_SEX_BEFORE.search(before)
    if not a_person and _BEGINS.search(before):
        a_person = _OLD_SEX_AFTER.match(text, start)
    return (
        _OLD_AFTER.match(text, start)
        or (_OLD_BEFORE.search(before) and _OLD_NUMBER.match(text, start))
        or (aside and _OLD_ASIDE.match(text, start))
        or (named and aside and _OLD_BARE.match(text, start))
        or (a_person and _OLD_SEX.match(text, start))
        or None
    )
