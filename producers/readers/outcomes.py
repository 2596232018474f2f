"""The reader of outcomes: NDJSON or CSV. A bad line is set aside with its line, field, reason and remedy."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from producers.readers.history_csv import HistoryFileError, opened
from producers.readers.ndjson import MAX_LINE, lines_of
from shared.errors import RecordError
from shared.schemas import Gold

KINDS = ("gold", "clinician")
FIELDS = ("consultation", "submission", "line", "gold", "list", "kind")


@dataclass(frozen=True)
class OutcomeRow:
    """One outcome as it was sent: whose, and what is right. `gold` or `accepted`, never both."""

    line: int  # of the file, 1-based
    consultation: uuid.UUID | None
    submission: uuid.UUID | None
    record_line: int | None  # of the submission's input, 1-based
    kind: str
    gold: Gold | None = field(repr=False)  # names as written
    accepted: list[str] | None = field(repr=False)  # a clinician's list


def read_outcomes(path: Path) -> Iterator[OutcomeRow | RecordError]:
    """The outcomes of a file, lazily; a file that begins with { is NDJSON, any other CSV.

    CSV has the fields as columns, an outcome a line: `gold` as JSON, `list` with semicolons between the
    names; without a column `gold` an empty list says that no drug was given. Raises `HistoryFileError` if
    the file cannot be read as either.
    """
    with opened(path) as stream:
        lines = lines_of(stream)
        first = next(lines, b"").removeprefix(b"\xef\xbb\xbf")
        whole = _again(first, lines)
        records = _objects(whole) if first.lstrip().startswith(b"{") else _csv_rows(path, whole)
        for line, found in records:
            try:
                yield _row(line, found())
            except RecordError as error:
                error.line = line
                yield error


def _again(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _objects(lines: Iterator[bytes]) -> Iterator[tuple[int, Any]]:
    for number, raw in enumerate(lines, start=1):
        if raw.strip():
            yield number, lambda raw=raw: _object(raw)


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(raw[: MAX_LINE + 1])
    except (ValueError, RecursionError):
        raise RecordError("not_json", "is not JSON in UTF-8: write one object per line") from None
    if not isinstance(value, dict):
        raise RecordError("not_an_object", "is not an object: write one JSON object per line")
    return value


def _csv_rows(path: Path, lines: Iterator[bytes]) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))  # the library's only way: for the process
    try:
        header = [name.strip() for name in _cells(next(lines))]
    except RecordError:
        header = []
    if not {"consultation", "submission"} & set(header) or not {"gold", "list"} & set(header):
        raise HistoryFileError(
            f"{path}: neither NDJSON nor a CSV of outcomes, whose columns are some of {', '.join(FIELDS)}"
        )
    for number, raw in enumerate(lines, start=2):
        if raw.strip():
            yield number, lambda raw=raw: _from_cells(header, _cells(raw))


def _cells(raw: bytes) -> list[str]:
    """The cells of one line; each line stands for itself, so an open quote takes no other line along."""
    if len(raw.rstrip(b"\r\n")) > MAX_LINE:
        raise RecordError("too_long", f"is longer than the {MAX_LINE} bytes that are read")
    try:
        line = raw.decode().rstrip("\r\n")
        if "\r" not in line:
            return next(csv.reader([line], strict=True), [])
    except UnicodeDecodeError:
        raise RecordError("not_utf8", "is not UTF-8: save the file as UTF-8") from None
    except csv.Error:
        pass
    raise RecordError(
        "not_csv",
        "its quotes do not match, or a cell holds a line break: in a quoted cell write a quote twice, and "
        "each outcome in a line of its own",
    )


def _from_cells(header: list[str], cells: list[str]) -> Mapping[str, Any]:
    if len(cells) != len(header):
        raise RecordError("fields", f"has not the {len(header)} fields of the first line: correct the quotes")
    given: dict[str, Any] = {k: v.strip() for k, v in zip(header, cells, strict=True) if v.strip()}
    if "list" in header and "gold" not in header:
        given.setdefault("list", "")  # nothing was given: what else could be meant?
    if "gold" in given:
        try:
            given["gold"] = json.loads(given["gold"])
        except (ValueError, RecursionError):
            raise RecordError("not_json", "is not JSON: quote it as CSV asks for", path="gold") from None
    if "list" in given:
        given["list"] = [name.strip() for name in given["list"].split(";") if name.strip()]
    return given


def _row(line: int, given: Mapping[str, Any]) -> OutcomeRow:
    unknown = sorted(set(given) - set(FIELDS))
    if unknown:
        raise RecordError("unknown_field", f"there are only {', '.join(FIELDS)}: leave others away")
    has_gold, has_list = given.get("gold") is not None, given.get("list") is not None
    if has_gold == has_list:
        raise RecordError(
            "gold_or_list",
            "exactly one of gold and list is asked for; where no drug was given, list is [], in CSV an empty "
            "cell where there is no column gold",
            path="gold",
        )
    kind = given.get("kind", "gold" if has_gold else "clinician")
    if kind not in KINDS or (has_list and kind != "clinician"):
        raise RecordError("kind", "is gold or clinician, and a list is a clinician's", path="kind")
    by_id = given.get("consultation") is not None
    by_record = given.get("submission") is not None
    if by_id == by_record:
        raise RecordError("whose", "name a consultation, or a submission and its line", path="consultation")
    return OutcomeRow(
        line=line,
        consultation=_uuid("consultation", given) if by_id else None,
        submission=_uuid("submission", given) if by_record else None,
        record_line=_line_number(given) if by_record else None,
        kind=kind,
        gold=_gold(given["gold"]) if has_gold else None,
        accepted=_names(given["list"]) if has_list else None,
    )


def _uuid(name: str, given: Mapping[str, Any]) -> uuid.UUID:
    try:
        return uuid.UUID(str(given[name]))
    except ValueError:
        raise RecordError("id", "is not an id as `consilium results` prints it", path=name) from None


def _line_number(given: Mapping[str, Any]) -> int:
    value = str(given.get("line", ""))
    if not value.isascii() or not value.isdigit() or not 0 < int(value[:10]) < 2**31:
        raise RecordError("line", "is not a line of the submission, counted from 1", path="line")
    return int(value[:10])


def _gold(value: Any) -> Gold:
    try:
        return Gold.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        inner = [str(part) for part in first["loc"] if isinstance(part, int) or part in Gold.model_fields]
        raise RecordError(
            first["type"],
            'is not gold as in definition list-1: {"required": [{"any_of": [names]}], "acceptable": [names], '
            '"never": [names]}',
            path=".".join(["gold", *inner]),
        ) from None


def _names(value: Any) -> list[str]:
    try:
        return Gold.model_validate({"acceptable": value}).acceptable
    except ValidationError:
        raise RecordError(
            "list", "is a list of names of drugs, empty if none was given", path="list"
        ) from None
