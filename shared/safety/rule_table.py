"""Reads tables of safety rules, and says of every bad line where, what and what to do."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from shared.medications import ingredients, is_unknown
from shared.medications.classes import members
from shared.medications.indications import known_conditions
from shared.safety.finding import Severity
from shared.safety.rule import KINDS, Rule, Term

COLUMNS = ("id", "kind", "drug", "with", "when", "severity", "effect", "mechanism", "advice", "source")
OFF = "off"

_ID = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_COMPARED = re.compile(r"(age|egfr|strength_mg)(<=|>=|<|>)(\d{1,5}(?:\.\d{1,3})?)")
_NAMED = re.compile(r"(route|sex|condition|taking)=(.+)")
_SEXES = ("female", "male", "other")
_PAIRS = ("interaction", "modifier")
_TERM_OF = {"renal": "egfr", "age": "age", "pregnancy": "pregnant"}
_WHEN = (
    "write terms such as age>=65, egfr<30, strength_mg>20, pregnant, sex=female, route=topical, "
    "condition=peptic_ulcer, taking=@corticosteroid, joined by &"
)


class _Bad(Exception):
    """A field of a line is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")


def read_table(name: str, text: str, rules: dict[str, Rule], problems: list[str]) -> None:
    """Add the rules of a built-in table to `rules` by id; say each bad line in `problems`."""
    for line, row in _rows(name, text, problems):
        try:
            rule = _rule(row)
            if rule.id in rules:
                raise _Bad("id", f"{rule.id!r} stands there twice; give each rule its own id")
            rules[rule.id] = rule
        except _Bad as bad:
            problems.append(f"{name}, line {line}, {bad}")


def read_file(path: Path, rules: dict[str, Rule], problems: list[str]) -> None:
    """Put a site's file on top of the built-in `rules`; say each bad line in `problems`.

    A rule with a built-in id takes that rule's place, `off` takes it out, a new id is added.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}; check the path and its permissions")
        return
    except UnicodeDecodeError:
        problems.append(f"{path} is not UTF-8; save it as UTF-8")
        return
    seen: dict[str, int] = {}
    for line, row in _rows(str(path), text, problems):
        try:
            name = _id(row)
            if (first := seen.setdefault(name, line)) != line:
                raise _Bad("id", f"{name!r} stands in line {first} already; keep one of the two")
            if row["severity"] != OFF:
                rules[name] = _rule(row)
            elif rules.pop(name, None) is None:
                raise _Bad(
                    "id",
                    f"no built-in rule {name!r} to switch off; `consilium medications rules` counts them",
                )
        except _Bad as bad:
            problems.append(f"{path}, line {line}, {bad}")


def _rows(name: str, text: str, problems: list[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The lines of a table that have the right number of fields, with their numbers (from 1)."""
    header: list[str] | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            fields = [field.strip() for field in next(csv.reader([line.rstrip("\r")], strict=True))]
        except csv.Error as error:
            problems.append(
                f"{name}, line {number}: not CSV ({error}); write a rule on one line, close its quotes"
            )
            continue
        if header is None:
            header = fields
            if sorted(header) != sorted(COLUMNS):
                problems.append(f"{name}, line {number}: the columns must be {','.join(COLUMNS)}")
                return
        elif len(fields) != len(header):
            problems.append(
                f"{name}, line {number}: {len(fields)} fields instead of {len(header)}; "
                'leave a field empty rather than out, and write one that holds a comma in "quotes"'
            )
        else:
            yield number, dict(zip(header, fields, strict=True))
    if header is None:
        problems.append(f"{name} is empty; its first line must be {','.join(COLUMNS)}")


def _rule(row: Mapping[str, str]) -> Rule:
    name, kind = _id(row), row["kind"]
    if kind not in KINDS:
        raise _Bad("kind", f"{kind!r} is none of {', '.join(KINDS)}; write one of these")
    drug, other = row["drug"], row["with"]
    _check_drug("drug", drug)
    if kind in (*_PAIRS, "allergy"):
        _check_drug("with", other)
    elif kind == "condition":
        _check_condition("with", other)
    elif other:
        raise _Bad("with", f"a rule of kind {kind} has none; leave it empty")
    if kind in _PAIRS and drug == other and not drug.startswith("@"):
        raise _Bad("with", "a drug does not interact with itself; name another one")
    when = tuple(_term(text.strip()) for text in row["when"].split("&")) if row["when"] else ()
    needed = _TERM_OF.get(kind)
    if needed and all(term.fact != needed for term in when):
        raise _Bad("when", f"a rule of kind {kind} needs a term about {needed}; {_WHEN}")
    severity = _severity(row["severity"], kind)
    for column in ("effect", "mechanism", "source") if kind == "interaction" else ("effect", "source"):
        if not row[column]:
            raise _Bad(column, f"empty; a rule of kind {kind} needs it")
    return Rule(
        id=name,
        kind=kind,
        drug=drug,
        other=other,
        when=when,
        severity=severity,
        effect=row["effect"],
        mechanism=row["mechanism"],
        advice=row["advice"],
        source=row["source"],
    )


def _id(row: Mapping[str, str]) -> str:
    if not _ID.fullmatch(row["id"]):
        raise _Bad("id", f"{row['id']!r} is no id; write lower-case letters, digits, and . _ - between them")
    return row["id"]


def _severity(text: str, kind: str) -> Severity | None:
    if kind == "modifier":
        if text:
            raise _Bad("severity", "a modifier has none; leave it empty")
        return None
    if text not in Severity.__members__:
        raise _Bad("severity", f"{text!r} is none of {', '.join(Severity)}; write one of these")
    return Severity(text)


def _term(text: str) -> Term:
    if text == "pregnant":
        return Term(text)
    if found := _COMPARED.fullmatch(text):
        return Term(found[1], found[2], float(found[3]))
    if not (found := _NAMED.fullmatch(text)):
        raise _Bad("when", f"{text!r} is no term; {_WHEN}")
    fact, value = found.groups()
    if fact == "taking":
        _check_drug("when", value)
    elif fact == "condition":
        _check_condition("when", value)
    elif fact == "sex" and value not in _SEXES:
        raise _Bad("when", f"{value!r} is none of {', '.join(_SEXES)}; write one of these")
    elif fact == "route" and not re.fullmatch(r"[a-z]+", value):
        raise _Bad("when", f"{value!r} is no route; write one word such as oral, topical, intravenous")
    return Term(fact, "=", value)


def _check_drug(field: str, name: str) -> None:
    if reason := _wrong_drug(name):
        raise _Bad(field, reason)


@cache
def _wrong_drug(name: str) -> str | None:
    """Why this is neither an ingredient code nor a class; None where it is one."""
    if not name:
        return "empty; name an ingredient (warfarin) or a class (@nsaid)"
    if name.startswith("@"):
        return None if members(name[1:]) else f"no class {name!r} is known; see classes.csv and groups.csv"
    codes = ingredients(name)
    if codes == (name,):
        return None
    if any(map(is_unknown, codes)):
        return f"no ingredient {name!r} is known; write a generic name, or a class as @nsaid"
    return f"{name!r} is no ingredient code; write {' and '.join(codes)}"


def _check_condition(field: str, code: str) -> None:
    if code not in known_conditions():
        raise _Bad(field, f"{code!r} is no condition code; write one such as peptic_ulcer")
