"""`consilium consensus`: peer grading of any table of grades; no service needed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from producers.cli.common import err
from shared.errors import ConsiliumError, SettingsError
from shared.peer_grading import Seat, grade_peers
from shared.vancouver import Consensus, ItemGrade, ReviewerMeasure, vancouver

COLUMNS = ("reviewer", "item", "grade")
LONGEST_NAME = 1_000


class Form(StrEnum):
    """Which form of the algorithm."""

    reference = "reference"
    default = "default"


class BadGrades(ConsiliumError):
    """The file cannot be read as grades; the message names line and column."""

    exit_code = 2


def consensus(
    grades: Annotated[
        Path,
        typer.Argument(
            help="CSV or JSON with reviewer, item, grade; of a reviewer's grades for an item the last counts."
        ),
    ],
    form: Annotated[Form, typer.Option(help="reference: Vancouver; default: without history the mean.")] = (
        Form.default
    ),
    scale: Annotated[
        float, typer.Option(help="Upper end of the grades, 1e-6 to 1e6; 0 is the lower one.")
    ] = 1.0,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="Reference form: leave out what came from the receiver.")
    ] = False,
    debias: Annotated[
        bool, typer.Option("--debias", help="Reference form: estimate each reviewer's bias.")
    ] = False,
) -> None:
    """Consensus grades and reviewers' measures as JSON, on the scale of the input."""
    if not 1e-6 <= scale <= 1e6:  # its fourth power is still a number
        raise SettingsError("--scale must be above 0 and finite: from 1e-6 to 1e6")
    if form is Form.default and (exclusive or debias):
        raise SettingsError("--exclusive and --debias belong to the reference form: add --form reference")
    rows = _read(grades, scale)
    if replaced := len(rows) - len({(u, i) for u, i, _ in rows}):
        noun = "grade" if replaced == 1 else "grades"
        said = f"{replaced} {noun} replaced an earlier one of the same reviewer for the same item"
        err.print(said, soft_wrap=True)
    if form is Form.reference:
        found = vancouver(rows, scale=scale, exclusive=exclusive, debias=debias)
    else:
        found = _default(rows, scale)
    shown = {
        "items": {name: {"grade": i.grade, "variance": i.variance} for name, i in found.items.items()},
        "reviewers": {
            name: {"reliability": r.reliability, "variance": r.variance, "bias": r.bias}
            for name, r in found.reviewers.items()
        },
    }
    print(json.dumps(shown, indent=2))


def _default(rows: list[tuple[str, str, float]], scale: float) -> Consensus[str, str]:
    """The default form without a memory, on the input's scale."""
    reviewers, items = sorted({u for u, _, _ in rows}), sorted({i for _, i, _ in rows})
    place_u, place_i = ({name: k for k, name in enumerate(names)} for names in (reviewers, items))
    found = grade_peers(
        ((place_u[u], place_i[i], g / scale) for u, i, g in rows),
        {k: Seat(u, u) for u, k in place_u.items()},
        None,
    )
    return Consensus(
        {items[k]: ItemGrade(i.grade * scale, i.variance * scale**2) for k, i in found.items.items()},
        {
            reviewers[k]: ReviewerMeasure(r.reliability, r.variance * scale**2, r.bias * scale)
            for k, r in found.reviewers.items()
        },
    )


def _read(path: Path, scale: float) -> list[tuple[str, str, float]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadGrades(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadGrades(f"{path} is not UTF-8: save it as UTF-8") from None
    rows = _json_rows(path, text) if path.suffix.lower() == ".json" else _csv_rows(path, text)
    return [_row(path, where, row, scale) for where, row in rows]


def _json_rows(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadGrades(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise BadGrades(f"{path} is nested too deeply: a list of objects is asked for") from None
    except ValueError:  # Python reads no longer integers
        raise BadGrades(f"{path}: a number has more than 4300 digits: shorten it") from None
    if not isinstance(value, list):
        raise BadGrades(f"{path}: a list of objects with {', '.join(COLUMNS)} is asked for")
    return [(f"object {number}", row) for number, row in enumerate(value, start=1)]


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check(path, header)
        for cells in reader:
            where = f"line {reader.line_num}"
            if any(cell.strip() for cell in cells[len(header) :]):
                raise BadGrades(f"{path}, {where}: more cells than columns: quote a cell that holds a comma")
            if cells:
                yield where, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        remedy = "close its quotes, or shorten it" if "field" in str(error) else "mend its quotes"
        raise BadGrades(f"{path}, line {reader.line_num}: no CSV ({error}): {remedy}") from None


def _check(path: Path, header: list[str]) -> None:
    missing = [c for c in COLUMNS if c not in header]
    if missing:
        said = f"{path}, line 1: no column {', '.join(missing)}; asked for are {', '.join(COLUMNS)}"
        raise BadGrades(said + ", with commas between them" * (len(header) == 1))
    twice = [c for c in COLUMNS if header.count(c) > 1]
    if twice:
        raise BadGrades(f"{path}, line 1: the column {twice[0]} is there twice: rename one")


def _row(path: Path, where: str, row: Any, scale: float) -> tuple[str, str, float]:
    if not isinstance(row, dict):
        raise BadGrades(f"{path}, {where}: not an object with {', '.join(COLUMNS)}")
    reviewer, item = (_name(f"{path}, {where}, column {c}", row.get(c)) for c in ("reviewer", "item"))
    grade = _number(row.get("grade"))
    if not 0 <= grade <= scale:
        raise BadGrades(f"{path}, {where}, column grade: not a number from 0 to {scale:g}")
    return reviewer, item, grade


def _number(given: Any) -> float:
    """NaN for what is none."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return math.nan
    if isinstance(given, str) and "_" in given:  # Python reads 1_0 as ten
        return math.nan
    try:
        return float(given)
    except (ValueError, OverflowError):
        return math.nan


def _name(where: str, given: Any) -> str:
    """Without the spaces around it; a JSON number is the name that it is written as."""
    name = str(given).strip() if isinstance(given, str | int) else ""
    if not name:
        raise BadGrades(f"{where}: empty or missing")
    if isinstance(given, bool) or "\0" in name:
        raise BadGrades(f"{where}: not a name: a text without NUL, or a whole number, is asked for")
    if len(name) > LONGEST_NAME:
        raise BadGrades(f"{where}: longer than {LONGEST_NAME} characters: is a quote missing?")
    return name
