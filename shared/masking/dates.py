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
    r"(?!\s?-?\s?(?:mg|mcg|µg|μg|g|kg|ml|mL|l|L|units?|iu|IU|meq|mEq|mmol|mm|cm|%|"
    r"tab\w*|cap\w*|pills?|puffs?|drops?|doses?|times|"
    r"x\b|strength|weeks?|days?|hours?|hrs?|"
    r"months?|years?|minutes?|of (?:a|the)\b|pain\b|murmur|cups?|packs?)\b)"
)
_ORDINAL = r"(?:st|nd|rd|th)"
_D, _M = r"(?P<d>\d{1,2})", r"(?P<m>\d{1,2})"
_NUMERIC = [
    re.compile(pattern)
    for pattern in (
        # 2021-03-04, with or without a time; 20210304
        rf"(?<![\w.-]){_YEAR}(?P<sep>[-/.]){_M}(?P=sep){_D}(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?"
        r"(?:Z|[+-]\d\d:?\d\d)?)?(?![\w-])",
        rf"(?<![\w.-]){_YEAR}(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?:T\d{{4,6}}Z?)?(?![\w-]|\.\d){_UNIT}",
        # 3/4/2021, 3-4-21, 4.3.2021
        rf"(?<![\w/.]){_M}(?P<sep>[-/]){_D}(?P=sep)(?P<y>(?:19|20)?\d\d)(?![\w/]|\.\d|-\d){_UNIT}",
        rf"(?<![\w/.])(?P<d>\d{{1,2}})\.\s?(?P<m>\d{{1,2}})\.\s?{_YEAR}(?![\w/]|\.\d){_UNIT}",
        # 12/2019, 2019-12
        rf"(?<![\w/.-]){_M}[-/]{_YEAR}(?![\w/-]|\.\d){_UNIT}",
        rf"(?<![\w/.-]){_YEAR}-(?P<m>0[1-9]|1[0-2])(?![\w/-]|\.\d){_UNIT}",
        rf"(?<![\w/.-]){_M}/{_D}(?=\s?[-–]\s?\d{{1,2}}/\d{{1,2}}/\d{{2,4}})",
    )
]
_SHORT = re.compile(
    rf"(?<![\w/.-]){_M}/{_D}(?![\w/]|\.\d|[-–]\d){_UNIT}"
)  # 3/14 where something says that it is a day
_DAY_CUE = re.compile(
    r"\b(?:on|since|dated|date:?|until|seen|admitted|discharged|effective|as of|visit|due|scheduled for|"
    r"begun|started|stopped)[ \t]+$",
    re.IGNORECASE,
)
# 4 March 2021, 4th of March, 04-Mar-21, 4. März 2021, 4 de marzo de 2021: what stands before the month
_DAY_BEFORE = re.compile(rf"(?<![\w/.-]){_D}(?P<mark>{_ORDINAL}|\.)?[\s-]{{0,2}}(?:of |de )?$")
# March 4, 2021, Mar 4-6, March 4th; March 2021, Mar '21: what stands behind it
_YEAR_AFTER = re.compile(rf"\.?[\s,-]{{0,2}}(?:of |de )?{_YEAR}(?!\w)|(?:-|\.?\s?['’])(?P<y2>\d\d)(?!\w)")
_DAY_AFTER = re.compile(
    rf"\.?\s+{_D}{_ORDINAL}?(?:\s?[-–]\s?\d{{1,2}}{_ORDINAL}?)?(?!\d)"
    rf"(?:,?\s*(?:of\s+)?{_YEAR}(?!\w)|,?\s*['’](?P<y2>\d\d)(?!\w)|(?![\w/]|\.\d){_UNIT})"
)
_GLUED = re.compile(rf"(?<![\w/.-]){_D}(?P<mon>[A-Za-z]{{3,9}}){_YEAR}(?!\w)")
_NO_DAY = re.compile(r"\s+(?:repeat|increase|be|take|use|cause|have|need|help|also|not|require|consider)\b")
_BORN = re.compile(
    r"(?i:\b(?:dob|d\.o\.b\.?|date of birth|born(?: on)?|birth ?date|birthday)\W{0,4}(?:is |was )?)$"
)
_FAR_DAYS, _FAR_MONTHS = 120, 24


@dataclass(frozen=True)
class Day:
    """A date as it stands in a text; without a year or a day where none is written."""

    start: int
    end: int
    year: int | None
    month: int
    day: int | None
    born: bool


def days_in(reading: Reading) -> Iterator[Day]:
    """Every exact date, or month of a year, that the text gives."""
    text = reading.text
    for start in reading.digits:
        for pattern in _NUMERIC:
            if (match := pattern.match(text, start)) is not None:
                groups = match.groupdict()
                day = groups.get("d")
                yield from _day(
                    text, start, match.end(), groups.get("y"), int(groups["m"]), int(day) if day else None
                )
        match = _SHORT.match(text, start)
        if match is not None and _DAY_CUE.search(text[max(0, start - 15) : start]):
            yield from _day(text, start, match.end(), None, int(match["m"]), int(match["d"]))
    for name in _MONTHS.keys() & reading.starts.keys():
        for start in reading.starts[name]:
            yield from _around_month(text, start, start + len(name), _MONTHS[name])
    for start in reading.digits:  # 04MAR2021
        match = _GLUED.match(text, start)
        if match is not None and match["mon"].lower() in _MONTHS:
            yield from _day(
                text, start, match.end(), match["y"], _MONTHS[match["mon"].lower()], int(match["d"])
            )


def _around_month(text: str, start: int, end: int, month: int) -> Iterator[Day]:
    """The date that a month's name is part of, if it is one."""
    written = text[start:end]
    year = _YEAR_AFTER.match(text, end)
    before = _DAY_BEFORE.search(text, max(0, start - 9), start)
    if before is not None and year is not None:
        yield from _day(text, before.start(), year.end(), year["y"] or year["y2"], month, int(before["d"]))
        return
    if (after := _DAY_AFTER.match(text, end)) is not None:
        with_year = after["y"] or after["y2"]
        if with_year or _stands_alone(written):
            yield from _day(text, start, after.end(), with_year, month, int(after["d"]))
            return
    if year is not None:
        yield from _day(text, start, year.end(), year["y"] or year["y2"], month, None)
    elif (
        before is not None
        and before["mark"] != "."
        and _stands_alone(written)
        and not _NO_DAY.match(text, end)
    ):
        yield from _day(text, before.start(), end, None, month, int(before["d"]))


def _stands_alone(written: str) -> bool:
    """Whether a month and a day are a date without a year as they are written: no "may 2", no "OCT 3"."""
    return written[0].isupper() and not (len(written) < 4 and written.isupper())


def _day(text: str, start: int, end: int, year: str | None, month: int, day: int | None) -> Iterator[Day]:
    """The date, where there is such a day; day and month the other way round where only that can be."""
    number = int(year) if year else None
    if number is not None and number < 100:
        number += 2000 if number < 40 else 1900
    if month > 12 and day is not None:
        month, day = day, month
    if 1 <= month <= 12 and (day is None or 1 <= day <= 31):
        yield Day(start, end, number, month, day, bool(_BORN.search(text[max(0, start - 30) : start])))


class Calendar:
    """What days are counted from: the record's date, else the latest one in the case."""

    def __init__(self, reading: Reading, identity: Identity, age: float | None) -> None:
        found, case = list(days_in(reading)), reading.text
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
            date = self._date(day, reading.text, self.reference)
            recorded = date is not None and day.day is not None and date == self._identity.birth_date
            if date is None or (recorded_only and not recorded and date != self._identity.date):
                continue
            born = day.born or recorded
            instead = self._born(date) if born else self._relative(date, exact=day.day is not None)
            yield Span(day.start, day.end, "date", date.isoformat(), instead)

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
    r"the (?:day of the visit|latest date)|a date|date of birth"
    r"|\d[\d.]* years old|90 years or older)\]"
)
"""What stands for dates and ages, as a text that is masked already holds it."""
