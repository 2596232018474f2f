"""`consilium consensus`: peer grading of any table of grades; no service needed."""

from __future__ import annotations

import csv
import io
import json
import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.errors import ConsiliumError, SettingsError
from shared.peer_grading import Seat, grade_peers
from shared.vancouver import Consensus, ItemGrade, ReviewerMeasure, vancouver

COLUMNS = ("reviewer", "item", "grade")


class Form(StrEnum):
    """Which form of the algorithm."""

    reference = "reference"
    default = "default"


class BadGrades(ConsiliumError):
    """The file cannot be read as grades; the message names line and column."""

    exit_code = 2


def consensus(
    grades: Annotated[Path, typer.Argument(help="CSV or JSON with the columns reviewer, item, grade.")],
    form: Annotated[Form, typer.Option(help="reference: Vancouver; default: without history the mean.")] = (
        Form.default
    ),
    scale: Annotated[float, typer.Option(help="Upper end of the grades; 0 is the lower one.")] = 1.0,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="Reference form: leave out what came from the receiver.")
    ] = False,
    debias: Annotated[
        bool, typer.Option("--debias", help="Reference form: estimate each reviewer's bias.")
    ] = False,
) -> None:
    """Consensus grades and reviewers' measures as JSON, on the scale of the input."""
    if not 0 < scale < math.inf:
        raise SettingsError("--scale must be above 0 and finite")
    if form is Form.default and (exclusive or debias):
        raise SettingsError("--exclusive and --debias belong to the reference form: add --form reference")
    rows = _read(grades, scale)
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
    if not isinstance(value, list):
        raise BadGrades(f"{path}: a list of objects with {', '.join(COLUMNS)} is asked for")
    return [(f"object {number}", row) for number, row in enumerate(value, start=1)]


def _csv_rows(path: Path, text: str) -> list[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    missing = [c for c in COLUMNS if c not in (reader.fieldnames or [])]
    if missing:
        raise BadGrades(f"{path}, line 1: no column {', '.join(missing)}; asked for are {', '.join(COLUMNS)}")
    return [(f"line {reader.line_num}", row) for row in reader]


def _row(path: Path, where: str, row: Any, scale: float) -> tuple[str, str, float]:
    if not isinstance(row, dict):
        raise BadGrades(f"{path}, {where}: not an object with {', '.join(COLUMNS)}")
    for column in ("reviewer", "item"):
        if not isinstance(row.get(column), str | int) or str(row[column]).strip() == "":
            raise BadGrades(f"{path}, {where}, column {column}: empty or missing")
    try:
        grade = math.nan if isinstance(row["grade"], bool) else float(row["grade"])
    except (KeyError, TypeError, ValueError, OverflowError):
        grade = math.nan
    if not 0 <= grade <= scale:
        raise BadGrades(f"{path}, {where}, column grade: not a number from 0 to {scale:g}")
    return str(row["reviewer"]), str(row["item"]), grade
