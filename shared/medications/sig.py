"""What an order says beside the drug: strength, form, route, frequency, as needed or not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.medications import words as vocabulary
from shared.medications.tokens import Tokens

_UNITS = {
    "milligram": "mg",
    "microgram": "mcg",
    "μg": "mcg",
    "µg": "mcg",
    "ug": "mcg",
    "gm": "g",
    "gram": "g",
    "meq": "mEq",
    "iu": "IU",
    "intl units": "IU",
    "international units": "IU",
    "u": "units",
    "unit": "units",
    "unt": "units",
    "million unit": "million units",
    "million unt": "million units",
    "mu": "million units",
    "percent": "%",
}
_PER = {
    "ml": "mL",
    "hr": "h",
    "hour": "h",
    "actuation": "actuat",
    "d": "day",
    "tab": "tablet",
    "cap": "capsule",
}
_NUMERALS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}
_TIMES = {
    "1": "once",
    "2": "twice",
    "3": "three times",
    "4": "four times",
    "5": "five times",
    "6": "six times",
}
_PERIODS = {"d": "daily", "w": "weekly", "m": "monthly"}
_INTERVALS = {"h": "hours", "d": "days", "w": "weeks", "m": "months"}

_N = r"(?:\d+|one|two|three|four|five|six)"
_EVERY = re.compile(
    rf"\b(?:q|every|each)\.?\s*({_N})(?:\s*(?:-|to)\s*({_N}))?\s*-?\s*"
    r"(hourly|hours?|hrs?|h|days?|d|weeks?|wks?|w|months?|mo|minutes?|min)\b"
)
_TIMES_A = re.compile(
    rf"\b(once|twice|thrice|{_N}(?:\s*(?:-|to)\s*\d)?)\s*(?:x|times?|doses?)?\s*"
    r"(?:/|a|per|each|every|in a)?\s*(daily|day|d|weekly|week|wk|monthly|month)\b"
)
_PHRASES = (
    (re.compile(r"\b(?:every other|alternate) (?:day|morning|night|evening)s?\b"), "every other day"),
    (re.compile(r"\b(?:every|each|in the|once) (?:morning|am)\b|\b(?:q|every) ?am\b"), "every morning"),
    (re.compile(r"\b(?:every|each|in the) (?:evening|afternoon|pm)\b|\bq ?pm\b"), "every evening"),
    (re.compile(r"\b(?:every|each|at) (?:night|bedtime|hs)\b|\bq ?hs\b"), "at bedtime"),
    (re.compile(r"\b(?:every|each|q|per|a|/) ?(?:day|24 ?h)\b|\bq ?d\b|/day\b"), "once daily"),
    (re.compile(r"\b(?:every|each|q|per|a) ?(?:week|wk)\b"), "once weekly"),
    (re.compile(r"\b(?:every|each|q|per|a) ?month\b"), "once monthly"),
    (re.compile(r"\b(?:every|each|q) ?hour\b|\bhourly\b"), "every hour"),
    (re.compile(r"\b(?:with|before|after) (?:each )?meals?\b"), "with meals"),
    (re.compile(r"\bonce\b|\bone time\b|\bx ?1\b|\bsingle dose\b|\b1 dose\b"), "once"),
    (re.compile(r"\bcontinuous(?:ly)?\b"), "continuous"),
)
_HINTS = vocabulary.word_set(
    "q every each times x once twice thrice daily weekly day monthly meals per night time dose"
)
_MAYBE = re.compile(r"q\d|x\d")
_PRN = re.compile(r"\b(?:as|when|if) (?:needed|required|necessary)\b|\bp\.?r\.?n\b")
_ORDER = ("tablet", "capsule", "auto-injector", "inhaler", "intrauterine system", "ring", "pack", "syringe")


@dataclass(frozen=True)
class Sig:
    """See `Order`, whose fields these are."""

    strength: str | None
    form: str | None
    route: str | None
    frequency: str | None
    prn: bool


def sig(found: Tokens, *, several: bool) -> Sig:
    """Read it from an order's words, in canonical words ("40 mg", "oral", "every 4-6 hours").

    `several`: more than one ingredient is ordered, so each may have its strength.
    """
    words = found.words
    form = _form(words) or _form(found.counted)
    route = next((r for w in (*words, *found.counted) if (r := vocabulary.ROUTES.get(w))), None)
    if "by" in words and "mouth" in words:
        route = "oral"
    lower = found.text.lower()
    return Sig(
        strength=_strength(found, several),
        form=form,
        route=route or vocabulary.FORM_ROUTES.get((form or "").split(" ", 1)[-1] if form else ""),
        frequency=_frequency(words, lower),
        prn="prn" in words or (("needed" in words or "required" in words) and bool(_PRN.search(lower))),
    )


def _strength(found: Tokens, several: bool) -> str | None:
    """The strengths of the ingredients joined by " / "; an amount to take where there is no other."""
    if not found.strengths:
        return _bare_strength(found)
    shown = []
    for number, unit, per in found.strengths:
        unit = _UNITS.get(unit.removesuffix("s") if unit not in _UNITS else unit, unit.removesuffix("s"))
        number = re.sub(r"\s*(?:–|-|to)\s*", "-", number.replace(",", "")).replace(" ", "")
        number = "0" + number if number.startswith(".") else number
        parts = [re.sub(r"\s+", "", part) for part in per.split("/")[1:]]
        below = "".join("/" + _below(p) for p in parts)
        shown.append(f"{number}{'' if unit == '%' else ' '}{unit}{below}")
    return " / ".join(dict.fromkeys(shown if several else shown[:1]))


def _below(part: str) -> str:
    """What a strength is in: "ml" → "mL", "24hr" → "24 h"."""
    unit = part.lstrip("0123456789.")
    number = part[: len(part) - len(unit)]
    return f"{number} {_PER.get(unit, unit)}".strip()


def _bare_strength(found: Tokens) -> str | None:
    """ "325 (65 fe) mg", where a bracket stands between number and unit; "5/325", which has no unit."""
    for number, unit in zip(found.words, found.words[1:], strict=False):
        if number.isdigit() and unit in ("mg", "mcg", "g", "meq"):
            return f"{number} {_UNITS.get(unit, unit)}"
    pair = re.search(r"(?<![\w/])(\d+(?:\.\d+)?/\d+(?:\.\d+)?)(?![\w/])", found.text)
    return pair[1] if pair else None


def _form(words: Sequence[str]) -> str | None:
    forms = [f for w in words if (f := vocabulary.FORMS.get(w))]
    if not forms:
        return None
    form = next((f for f in _ORDER if f in forms), forms[0])
    release = next((r for w in words if (r := vocabulary.RELEASES.get(w))), None)
    return f"{release} {form}" if release and form in ("tablet", "capsule", "suspension") else form


def _frequency(words: Sequence[str], text: str) -> str | None:
    simple = next(
        (f for w in words if (f := vocabulary.FREQUENCIES.get(w)) and w not in ("daily", "weekly")), None
    )
    if simple and simple not in ("once", "with meals"):
        return simple
    if not _HINTS.isdisjoint(words) or any(w[0] in "qx" and _MAYBE.match(w) for w in words) or "/d" in text:
        if found := _EVERY.search(text):
            return _every(found[1], found[2], found[3])
        if found := _TIMES_A.search(text):
            count = {"once": "1", "twice": "2", "thrice": "3"}.get(
                found[1], _NUMERALS.get(found[1], found[1])
            )
            if found[1] in ("once", "twice", "thrice") or re.search(
                r"x|time|dose|daily|a day|per day", found[0]
            ):
                return f"{_TIMES.get(count, count + ' times')} {_PERIODS[found[2][0]]}"
        for pattern, meaning in _PHRASES[:-2]:
            if pattern.search(text):
                return meaning
        for word in ("daily", "weekly"):
            if word in words:
                return f"once {word}"
    if simple:
        return simple
    if "once" in words or "x1" in words or "1" in words:
        return _PHRASES[-2][1] if _PHRASES[-2][0].search(text) else None
    return "continuous" if "continuous" in words or "drip" in words or "continuously" in words else None


def _every(low: str, high: str | None, unit: str) -> str:
    low, high = _NUMERALS.get(low, low), _NUMERALS.get(high or "", high)
    if unit.startswith("min"):
        return f"every {low}{'-' + high if high else ''} minutes"
    if low == "1" and not high:
        return {"h": "every hour", "d": "once daily", "w": "once weekly", "m": "once monthly"}[unit[0]]
    if unit[0] == "d" and low == "2" and not high:
        return "every other day"
    return f"every {low}{'-' + high if high else ''} {_INTERVALS[unit[0]]}"
