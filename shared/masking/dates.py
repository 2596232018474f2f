"""Exact dates become relative ones: days from the visit, so that courses and order can still be read.

The reference is the record's own date, else the latest date in the text. Years alone stay (they are no exact
dates), as do months without a year and days of the week.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.masking.spans import Reading, Span
from shared.masking.words import is_drug, is_insulin
from shared.schemas import Identity

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan januar janvier enero gennaio janeiro januari",
            "february feb februar fevrier febrero febbraio fevereiro februari",
            "march mar marz mars marzo marco maart",
            "april apr avril abril aprile",
            "may mai mayo maggio maio mei",
            "june jun juni juin junio giugno junho",
            "july jul juli juillet julio luglio julho",
            "august aug aout agosto augustus",
            "september sep sept septembre septiembre settembre setembro",
            "october oct oktober okt octobre octubre ottobre outubro",
            "november nov novembre noviembre novembro",
            "december dec dezember dez decembre diciembre dicembre dezembro",
        ),
        start=1,
    )
    for name in names.split()
}
_YEAR = r"(?P<y>(?:19|20)\d\d)"
_UNIT = (
    r"(?!\s?-?\s?(?:mg|mcg|µg|μg|g|kg|ml|mL|l|L|units?|iu|IU|IE|E|U|meq|mEq|mmol|mm|mmHg|cm|%|reps|"
    r"tab\w*|cap\w*|pills?|puffs?|drops?|doses?|times|taper|daily|(?:before|with|after|at) meals?|"
    r"x\b|strength|weeks?|days?|hours?|hrs?|"
    r"months?|years?|minutes?|of (?:a|the)\b|pain\b|murmur|cups?|packs?)\b)"
)
_ORDINAL = r"(?:st|nd|rd|th)"
_D, _M, _Y2 = r"(?P<d>\d{1,2})", r"(?P<m>\d{1,2})", r"(?P<y>(?:19|20)?\d\d)"
_NO_WORD, _END = r"(?<![^\W_])", r"(?![^\W_]|[/]|\.\d)"  # "_" joins a date to a file's name
_ISO = r"(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?(?!\d)"
_NUMERIC = [
    re.compile(pattern)
    for pattern in (
        # 2021-03-04, with or without a time; 2021-03-04-2021-03-10; 20210304
        rf"{_NO_WORD}(?:(?<![.-])|(?<=\d[-/.]\d\d-)|(?<=\d--)){_YEAR}(?P<sep>[-/.]){_M}(?P=sep){_D}"
        r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
        rf"(?![^\W_]|-(?!{_ISO})\d)",
        rf"{_NO_WORD}(?<![.-]){_YEAR}(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?:T\d{{4,6}}Z?)?"
        rf"(?![^\W_]|-|\.\d){_UNIT}",
        # 3/4/2021, 3-4-21, 4.3.2021
        rf"{_NO_WORD}(?<![/.]){_M}/{_D}/{_Y2}{_END}{_UNIT}",
        rf"{_NO_WORD}(?<![/.]){_M}-{_D}-{_Y2}{_END}(?!-\d(?!\d?-\d\d?-(?:19|20)?\d\d(?!\d))){_UNIT}",
        rf"{_NO_WORD}(?<![/.])(?P<d>\d{{1,2}})\.\s?(?P<m>\d{{1,2}})\.\s?{_YEAR}{_END}{_UNIT}",
        rf"{_NO_WORD}(?<![/.-])(?P<d>\d{{1,2}})\.(?P<m>\d{{1,2}})\.(?P<y>\d\d){_END}(?!-\d){_UNIT}",
        rf"{_NO_WORD}(?<![/.-])(?P<m>\d\d)(?P<d>\d\d){_YEAR}(?!\w)",
        # 12/2019, 2019-12
        rf"{_NO_WORD}(?<![/.-]){_M}[-/]{_YEAR}(?![^\W_]|[/-]|\.\d){_UNIT}",
        rf"{_NO_WORD}(?<![/.-]){_YEAR}-(?P<m>0[1-9]|1[0-2])(?![^\W_]|[/-]|\.\d){_UNIT}",
        rf"{_NO_WORD}(?<![/.-]){_M}/{_D}(?=\s?-\s?\d{{1,2}}/\d{{1,2}}/\d{{2,4}})",
    )
]
_DOTTED = re.compile(r"\d{1,2}\.\d{1,2}\.\d\d|\d{4}(?:19|20)\d\d")  # a date only where something says so
_SCHEME = re.compile(r"\d{1,2}-\d{1,2}-\d\d")  # so is 8-6-10 behind a drug: what is taken in the day
_TWO_WORDS = re.compile(
    r"(?:([^\W\d_]+)[\s,:()]+)?([^\W\d_]+)[\s,:()]*(?:\d[\d.,]*\s?(?:mg|mcg|g|units?)\s+)?$"
)
_GIVEN = re.compile(r"\b(?:last|given|received|refilled)\b[^.\n]*$", re.IGNORECASE)
_BEGUN = re.compile(r"\b(?:started|began|begun|stopped|since|until)\b[^.\n]*$", re.IGNORECASE)
_SHORT = re.compile(
    rf"(?<![\w/.-]){_M}/{_D}(?![\w/]|\.\d|-\d){_UNIT}"
)  # 3/14 where something says that it is a day
_DAY_CUE = re.compile(
    r"\b(?:on|since|dated|date:?|until|seen|admitted|discharged|effective|as of|visit|due|scheduled for|"
    r"begun|started|stopped)[ \t]+$",
    re.IGNORECASE,
)
_DOTTED_CUE = re.compile(r"\b(?:am|vom|den|datum:?)[ \t]+$", re.IGNORECASE)
# 4 March 2021, 4-6 March, 4th of March, 04-Mar-21, 4. März 2021, 4 de marzo de 2021: before the month
_DAY_BEFORE = re.compile(
    rf"(?:(?<![\w/.-])(?:\d{{1,2}}(?:{_ORDINAL}|\.)?(?:\s?-\s?|\s(?:and|to|und|bis|&)\s)){{1,3}}|(?<![\w/.-]))"
    rf"{_D}(?P<mark>{_ORDINAL}|\.)?[\s-]{{0,2}}(?:of |de )?$"
)
_YEAR_BEFORE = re.compile(rf"{_NO_WORD}(?<![./-]){_YEAR}[\s/-]$")  # 2021-Mar-04, 2021 March 4
# March 4, 2021, Mar 4-6, March 4th, Mar 5, 6 and 7 2021, Mar-04-2021; March 2021, Mar '21: behind it
_YEAR_AFTER = re.compile(
    rf"\.?[\s,-]{{0,2}}(?:of |de )?{_YEAR}(?!\w)"
    r"|(?:-(?!\d\d-(?:\d\d)?\d\d(?!\w))|\.?\s?['’])(?P<y2>\d\d)(?!\w)"
)
_MORE_DAYS = rf"(?:(?:\s?-\s?|,\s?|,?\s(?:and|to|&)\s)\d{{1,2}}{_ORDINAL}?(?!\d))"
_DAY_AFTER = re.compile(
    rf"\.?\s+{_D}{_ORDINAL}?(?!\d)(?:{_MORE_DAYS}{{0,9}},?\s*(?:of\s+)?{_YEAR}(?!\w)"
    rf"|{_MORE_DAYS}{{0,9}},?\s*['’](?P<y2>\d\d)(?!\w)|(?:\s?-\s?\d{{1,2}}{_ORDINAL}?)?(?![\w/]|[.:]\d){_UNIT})"
    r"|[-/](?P<d2>\d{1,2})[-/](?P<y3>(?:19|20)?\d\d)(?!\w)"
)
_DAY_AFTER_YEAR = re.compile(rf"\.?[\s/-]{{1,2}}{_D}{_ORDINAL}?(?![\w/]|\.\d|-\d){_UNIT}")
_GLUED = re.compile(rf"(?<![\w/.-]){_D}(?P<mon>[A-Za-z]{{3,9}}){_Y2}(?!\w)")
_NO_DAY = re.compile(r"\s+(?:repeat|increase|be|take|use|cause|have|need|help|also|not|require|consider)\b")
_BORN = re.compile(
    r"(?i:\b(?:dob|d\.o\.b\.?|date of birth|born(?: on)?|birth ?date|birthday|geb(?:\.|oren)?(?: am)?|"
    r"geburtsdatum)\W{0,4}(?:is |was )?)$"
)
_BIRTH = "[the day of birth]"
_FAR_DAYS, _FAR_MONTHS = 120, 24


@dataclass(frozen=True)
class Day:
    """A date as it stands in a text; without a year or a day where none is written."""

    start: int
    end: int
    year: int | None
    month: int
    day: int | None
    born: bool  # a word before it says so
    sure: bool = True  # else a date only if it is the recorded birth date


def days_in(reading: Reading) -> Iterator[Day]:
    """Every exact date, or month of a year, that the text gives."""
    text = reading.plain
    for start in reading.digits:
        for pattern in _NUMERIC:
            if (match := pattern.match(text, start)) is not None:
                groups, written = match.groupdict(), match[0]
                sure = not (_DOTTED.fullmatch(written) or _SCHEME.fullmatch(written)) or _a_day(
                    reading, match
                )
                number = int(groups["d"]) if groups.get("d") else None
                yield from _day(text, *match.span(), groups.get("y"), int(groups["m"]), number, sure=sure)
        match = _SHORT.match(text, start)
        if match is not None and _DAY_CUE.search(text[max(0, start - 15) : start]):
            yield from _day(text, start, match.end(), None, int(match["m"]), int(match["d"]))
        match = _GLUED.match(text, start)  # 04MAR2021
        if match is not None and (month := _MONTHS.get(match["mon"].lower())) is not None:
            yield from _day(text, start, match.end(), match["y"], month, int(match["d"]))
    for name in _MONTHS.keys() & reading.starts.keys():
        for start in reading.starts[name]:
            yield from _around_month(text, start, start + len(name), _MONTHS[name])


def _a_day(reading: Reading, match: re.Match[str]) -> bool:
    """Whether 04.03.21 or 3-4-21 is a date: by a word before it; the latter where no drug is before it."""
    start, written = match.start(), match[0]
    before = reading.plain[max(0, start - 40) : start]
    if _DAY_CUE.search(before) or _BORN.search(before):
        return True
    if not _SCHEME.fullmatch(written):
        return bool(re.match(r"\d\d\.\d\d\.", written) or _DOTTED_CUE.search(before))
    words = _TWO_WORDS.search(before.lower())
    drugs = [word for word in words.groups(default="") if is_drug(word)] if words else []
    if not drugs or "0" in (written[0], written[3]) or _GIVEN.search(before):
        return True
    return bool(_BEGUN.search(before)) and not any(is_insulin(drug) for drug in drugs)


def _around_month(text: str, start: int, end: int, month: int) -> Iterator[Day]:
    """The date that a month's name is part of, if it is one."""
    written = text[start:end]
    year = _YEAR_AFTER.match(text, end)
    before = _DAY_BEFORE.search(text, max(0, start - 24), start)
    if before is not None and year is not None:
        yield from _day(text, before.start(), year.end(), year["y"] or year["y2"], month, int(before["d"]))
        return
    after = _DAY_AFTER.match(text, end)
    with_year = after and (after["y"] or after["y2"] or after["y3"])
    first = _YEAR_BEFORE.search(text, max(0, start - 6), start)
    if re.match(r"-[^\W\d]", text[end : end + 2]):  # May-Thurner
        first = None
    joined = text[start - 1 : start] in ("-", "/")
    if first is not None and (joined or not (year or with_year)) and (joined or written[0].isupper()):
        day = _DAY_AFTER_YEAR.match(text, end)
        number = int(day["d"]) if day else None
        yield from _day(text, first.start(), day.end() if day else end, first["y"], month, number)
        return
    if before and after and written[0].isupper() and re.fullmatch(r"\s\d\d", after[0]):  # 10 Mar 21
        yield from _day(text, before.start(), after.end(), after["d"], month, int(before["d"]))
        return
    if after is not None and (with_year or _stands_alone(written)):
        yield from _day(text, start, after.end(), with_year or None, month, int(after["d"] or after["d2"]))
        return
    if year is not None:
        yield from _day(text, start, year.end(), year["y"] or year["y2"], month, None)
    elif (
        before is not None
        and before["mark"] != "."
        and _stands_alone(written)
        and not _NO_DAY.match(text, end)
    ):
        yield from _day(text, before.start("d"), end, None, month, int(before["d"]))


def _stands_alone(written: str) -> bool:
    """Whether a month and a day are a date without a year as they are written: no "may 2", no "OCT 3"."""
    return written[0].isupper() and not (len(written) < 4 and written.isupper())


def _day(
    text: str, start: int, end: int, year: str | None, month: int, day: int | None, *, sure: bool = True
) -> Iterator[Day]:
    """The date, where there is such a day; day and month the other way round where only that can be."""
    number = int(year) if year else None
    if number is not None and number < 100:
        number += 2000 if number < 40 else 1900
    if month > 12 and day is not None:
        month, day = day, month
    if 1 <= month <= 12 and (day is None or 1 <= day <= 31):
        born = bool(_BORN.search(text[max(0, start - 30) : start]))
        yield Day(start, end, number, month, day, born, sure or born)


class Calendar:
    """What days are counted from: the record's date, else the latest one in the case."""

    def __init__(self, reading: Reading, identity: Identity, age: float | None) -> None:
        found, case = [day for day in days_in(reading) if day.sure], reading.plain
        # 14/3/2021 tells that 4/3/2021 is in March as well
        self._day_first = bool(
            re.search(r"\b(?:1[3-9]|2\d|3[01])/\d{1,2}/\d{2,4}\b", case)
        ) and not re.search(r"\b\d{1,2}/(?:1[3-9]|2\d|3[01])/\d{2,4}\b", case)
        self._identity, self._age = identity, age
        written = [self._date(day, case, None) for day in found if day.year is not None and not day.born]
        dates = [date for date in written if date is not None and date != identity.birth_date]
        self.reference = identity.date or max(dates, default=None)
        self._called = "the visit" if identity.date else "the latest date"

    def spans(self, reading: Reading, *, recorded_only: bool = False) -> Iterator[Span]:
        """The text's dates with what stands for them; with `recorded_only` those that the record gives."""
        for day in days_in(reading):
            date = self._date(day, reading.plain, self.reference)
            recorded = date is not None and self._is_birth(day, date)
            given = recorded or (date is not None and date == self._identity.date)
            if date is None or not (given or (day.sure and not recorded_only)):
                continue
            if day.born:
                instead = self._born(date)
            else:  # what was measured on the day of birth is no age
                instead = _BIRTH if recorded else self._relative(date, exact=day.day is not None)
            yield Span(day.start, day.end, "date", date.isoformat(), instead)

    def _is_birth(self, day: Day, date: dt.date) -> bool:
        """Whether the record gives it as the date of birth; in either order where digits alone say little."""
        if day.day is None:
            return False
        orders = {date} if day.sure or day.year is None else {date, _valid(day.year, day.day, day.month)}
        return self._identity.birth_date in orders - {None}

    def _date(self, day: Day, text: str, near: dt.date | None) -> dt.date | None:
        month, number = day.month, day.day or 15
        if self._day_first and re.match(r"\d{1,2}/\d{1,2}/", text[day.start : day.end]) and number <= 12:
            month, number = number, month
        if day.year is not None:
            return _valid(day.year, month, number)
        if near is None:
            return _valid(2000, month, number)
        years = [_valid(near.year + shift, month, number) for shift in (-1, 0, 1)]
        return min((d for d in years if d is not None), key=lambda d: abs((d - near).days), default=None)

    def _relative(self, date: dt.date, *, exact: bool) -> str:
        if self.reference is None:
            return "[a date]"
        days = (date - self.reference).days
        if days == 0 and exact:
            return "[the day of the visit]" if self._identity.date else "[the latest date]"
        months = round(abs(days) / 30.44)
        if exact and abs(days) <= _FAR_DAYS:
            amount = f"{abs(days)} day{'s' * (abs(days) != 1)}"
        elif months == 0:
            return f"[in the month of {self._called}]"
        elif months <= _FAR_MONTHS:
            amount = f"about {months} month{'s' * (months != 1)}"
        else:
            years = round(abs(days) / 365.25)
            amount = f"about {years} years" if years < 90 else "90 or more years"
        return f"[{amount} {'before' if days < 0 else 'after'} {self._called}]"

    def _born(self, date: dt.date) -> str:
        """The age at the reference; the record's own age where nothing tells the day of the visit."""
        at = self._identity.date or (None if self._age is not None else self.reference)
        if at is not None and at > date:
            age: float = at.year - date.year - ((at.month, at.day) < (date.month, date.day))
        elif self._age is not None:
            age = self._age
        else:
            return "[date of birth]"
        return old(age)


def old(years: float) -> str:
    """An age as it may be told: those over 89 are one group (45 CFR 164.514(b)(2)(i)(C))."""
    return f"[{years:g} years old]" if years < 90 else "[90 years or older]"


def _valid(year: int, month: int, day: int) -> dt.date | None:
    try:
        return dt.date(year, month, day)
    except ValueError:
        return None


RELATIVE = re.compile(
    r"\[(?:(?:\d+ days?|about \d+ (?:months?|years)|90 or more years) "
    r"(?:before|after) the (?:visit|latest date)|in the month of the (?:visit|latest date)|"
    r"the (?:day of (?:the visit|birth)|latest date)|a date|date of birth"
    r"|\d[\d.]* years old|90 years or older)\]"
)
"""What stands for dates and ages, as a text that is masked already holds it."""
