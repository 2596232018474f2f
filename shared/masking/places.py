"""Places finer than a state: by what is said of them, and by the state or the kind of house behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shared.blind import skeleton
from shared.masking.spans import Kind, Reading, Span, compact
from shared.masking.words import is_drug, no_names
from shared.medications.words import word_set

_UP = "A-ZÀ-ÖØ-Þ"
_CITY = rf"[{_UP}][^\W\d_]+(?:[ '’-](?:(?:of|de|la|del|am|an der|sur|upon)[ ])?[{_UP}][^\W\d_]+){{0,3}}"
_STATES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|"
    "Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|"
    "Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|New Hampshire|New Jersey|New Mexico|"
    "New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island|"
    "South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|West Virginia|"
    "Wisconsin|Wyoming|Puerto Rico|District of Columbia"
)
_CODES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|"
    "NC|ND|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC|PR"
)
_COUNTRIES = (
    "USA|US|United States|United States of America|America|Canada|Mexico|United Kingdom|UK|England|"
    "Scotland|Wales|Ireland|Germany|France|Spain|Italy|Portugal|Netherlands|Belgium|Switzerland|"
    "Austria|Poland|Russia|Ukraine|India|Pakistan|Bangladesh|China|Japan|Korea|South Korea|Vietnam|"
    "Thailand|Philippines|Indonesia|Malaysia|Australia|New Zealand|Brazil|Argentina|Colombia|Peru|"
    "Chile|Venezuela|Ecuador|Guatemala|Honduras|El Salvador|Cuba|Haiti|Dominican Republic|Jamaica|"
    "Nigeria|Ghana|Kenya|Ethiopia|Somalia|Sudan|Egypt|South Africa|Morocco|Turkey|Iran|Iraq|Syria|"
    "Israel|Saudi Arabia|Afghanistan|Nepal|Africa|Asia|Europe|South America|Central America|"
    "North America|Latin America|Caribbean|Middle East|Southeast Asia|West Africa|East Africa|"
    "Zambia|Tanzania|Uganda|Zimbabwe|Congo|Senegal|Cameroon|Angola|Mozambique|Rwanda|Malawi|Mali|"
    "Liberia|Sierra Leone|"
    "Sweden|Norway|Denmark|Finland|Iceland|Greece|Romania|Hungary|Bulgaria|Serbia|Croatia|Bosnia|Albania|"
    "Czech Republic|Slovakia|Armenia|Taiwan|Cambodia|Laos|Myanmar|Burma|Sri Lanka|Jordan|Lebanon|Kuwait|"
    "Qatar|Yemen|Libya|Algeria|Tunisia|Bolivia|Paraguay|Uruguay|Panama|Costa Rica|Nicaragua|Belize|Bahamas"
)
WIDE = frozenset(compact(name) for name in f"{_STATES}|{_CODES}|{_COUNTRIES}".split("|"))
"""States, countries and wider, compacted: these may be told."""

_LIVES = word_set(
    """
    live lives lived living reside resides resided residing resident moved relocated relocating born
    raised grew work works worked stay stays stayed staying visit visits visited visiting trip travel
    travels traveled travelled traveling travelling vacation vacationed vacationing flew drove
    returned home based located transferred comes came originally hails is was farm house apartment
    hometown native hike hiked hiking
    """
)
_LIVES_IN = re.compile(
    rf"\w+[ \t]+(?:\w+[ \t]+)?(?:in|to|at|from|near|outside|around|of)[ \t]+(?:the[ \t]+)?(?P<it>{_CITY})"
)
_IS_IN = frozenset(("is", "was"))
_IS_FROM = re.compile(rf"\w+[ \t]+(?:originally[ \t]+)?from[ \t]+(?P<it>{_CITY})")
_NEARER = {
    "hospital": r"Hospital\b",
    "infirmary": r"Infirmary\b",
    "hospice": r"Hospice\b",
    "medical": r"Medical Cent(?:er|re)\b",
    "nursing": r"Nursing Home\b",
    "health": r"Health (?:System|Cent(?:er|re))\b",
    "elementary": r"Elementary School\b",
    "high": r"High School\b",
    "university": r"University\b",
    "college": r"College\b",
    "church": r"Church\b",
    "county": r"County\b",
    "township": r"Township\b",
    "parish": r"Parish\b",
}
_BEFORE_HOUSE = re.compile(
    rf"(?:St\.?[ \t]+)?[{_UP}][\w'’]+(?:[ \t]+(?:of[ \t]+)?[{_UP}][\w'’]+){{0,3}}[ \t]+$"
)
_BEFORE_STATE = re.compile(rf"(?P<said>(?:in|from|near|of|to|at)[ \t]+)?(?P<it>{_CITY}),[ \t]+$")
_STATE = re.compile(rf"(?:{_STATES})\b")
_CODE = re.compile(rf"(?P<code>{_CODES})\b(?:[ \t]+(?P<zip>\d{{5}}(?:-\d{{4}})?)\b)?")
_STATE_ZIP = re.compile(rf"(?:{_STATES}),?[ \t]+(?P<zip>\d{{5}}(?:-\d{{4}})?)\b")
_FIRST_OF_STATE = frozenset(skeleton(name).split()[0] for name in _STATES.split("|"))
_CODE_WORDS = frozenset(code.lower() for code in _CODES.split("|"))
_POSTAL = re.compile(
    r"(?<!\w)[A-CEGHJ-NPR-TVXY]\d[A-Z] \d[A-Z]\d\b|(?<=, )[A-Z]{1,2}\d[A-Z\d]? \d(?!M[GL]\b)[A-Z]{2}\b"
)
_LONG = 64
_PART_OF_PLACE = word_set(
    """
    north south east west new high general saint st upper lower port great little
    """
)


def places(reading: Reading) -> Iterator[Span]:
    """Cities, counties, houses and postal codes; states and countries stay."""
    text = reading.plain
    for start in reading.at(_LIVES):
        word = text[start : start + 3].lower().strip()
        match = (_IS_FROM if word in _IS_IN else _LIVES_IN).match(text, start)
        if match is not None:
            yield from _narrow(text, *match.span("it"))
    for word, house in _NEARER.items():
        for start in reading.at((word,)):
            if re.match(house, text[start : start + 20]):
                before = _BEFORE_HOUSE.search(text, max(0, start - _LONG), start)
                if before is not None:
                    yield from _narrow(text, before.start(), len(text[:start].rstrip()))
    for start in reading.at(_FIRST_OF_STATE):
        if _STATE.match(text, start):
            yield from _before_state(text, start, sure=True)
            if (match := _STATE_ZIP.match(text, start)) is not None:
                yield _span("address", text, *match.span("zip"))
    for start in reading.at(_CODE_WORDS):
        match = _CODE.match(text, start)
        if match is not None:
            yield from _before_state(text, start, sure=match["zip"] is not None)
            if match["zip"]:
                yield _span("address", text, *match.span("zip"))
    for match in _POSTAL.finditer(text):
        yield _span("address", text, match.start(), match.end())


def _before_state(text: str, start: int, *, sure: bool) -> Iterator[Span]:
    """The city before ", IL": a code alone may be a clinical term (MI, OR), so something must say where."""
    if text[max(0, start - 2) : start].strip() != ",":
        return
    match = _BEFORE_STATE.search(text, max(0, start - _LONG), start)
    if match is not None and (sure or match["said"]):
        yield from _narrow(text, *match.span("it"))


def _narrow(text: str, start: int, end: int) -> Iterator[Span]:
    """The words up to the first that is no part of a place; nothing where that leaves none or a wide one."""
    found, length = text[start:end], 0
    for match in re.finditer(r"[^\W\d_]+(?:['’][^\W\d_]+)*", found):
        word = skeleton(match[0]).removesuffix("'s")
        clinical = word in no_names() and word not in _PART_OF_PLACE and word != "of"
        if clinical or is_drug(word) or (match[0].isupper() and len(match[0]) < 5):
            break
        length = match.end()
    kept = found[:length]
    if kept and compact(kept) not in WIDE and skeleton(kept) not in _PART_OF_PLACE:
        yield _span("place", text, start, start + length)


def _span(kind: Kind, text: str, start: int, end: int) -> Span:
    return Span(start, end, kind, compact(text[start:end]))
