"""The NDJSON reader: one record a line. A bad line is set aside with its line, field and reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

from pydantic import ValidationError

from producers.readers.record import Read
from shared.errors import RecordError
from shared.measures import in_codes
from shared.schemas import Vignette

MAX_LINE = 256 * 1024
"""Longest line that is read, in bytes, without its end."""

_NUL = re.compile(r"\x00|(?<!\\)(?:\\\\)*\\u0000")  # as it stands, or as JSON's escape


def lines_of(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream. Of one that is too long only the beginning is kept: memory stays bounded."""
    longest = MAX_LINE + len(b"\r\n")
    while line := stream.readline(longest + 1):
        yield line
        while len(line) > longest and not line.endswith(b"\n"):
            line = stream.readline(longest + 1)


def read_ndjson(lines: Iterable[bytes], file: str = "") -> Iterator[Read]:
    """The records of an NDJSON stream, lazily. Empty lines and a byte order mark are no errors."""
    for number, raw in enumerate(lines, start=1):
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        raw = raw.rstrip(b"\r\n")
        if len(raw) > MAX_LINE or raw.strip():
            yield read_record(number, raw, file)


def read_record(line: int, raw: bytes, file: str = "") -> Read:
    """One record as JSON, which begins at this line; what is wrong with it is its error."""
    text = raw[:MAX_LINE].decode(errors="replace").strip()
    try:
        return Read(line, _parse(raw), text=text, file=file)
    except RecordError as error:
        error.line = line
        return Read(line, None, error, text, file)


def vignette_of(value: dict[str, Any]) -> Vignette:
    """The vignette of a record's fields. Raises `RecordError`, without the line."""
    try:
        vignette = Vignette.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise RecordError(first["type"], _reason(error), path=_path(first)) from None
    if vignette.gold is not None:
        in_codes(vignette.gold, b"")  # what cannot be stored in codes is said now, whatever the site's key
    return vignette


def _parse(raw: bytes) -> Vignette:
    if len(raw) > MAX_LINE:
        raise RecordError("too_long", f"the record is longer than the {MAX_LINE} bytes that are read")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise RecordError(
            "not_utf8", f"byte {error.start + 1} is not UTF-8: save the file as UTF-8"
        ) from None
    if _NUL.search(text):
        raise RecordError("nul_character", "the text holds a NUL character: remove it")
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} of the record, " if error.lineno > 1 else ""
        raise RecordError("not_json", f"{error.msg} at {place}column {error.colno}") from None
    except ValueError:
        raise RecordError("not_json", "a number has too many digits") from None
    except RecursionError:
        raise RecordError("not_json", "nested too deeply") from None
    if not isinstance(value, dict):
        raise RecordError("not_an_object", "a record is one JSON object")
    return vignette_of(value)


def _no_constant(_name: str) -> Any:
    raise RecordError("not_json", "NaN and Infinity are not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):  # which of the two was meant is not for us to guess
        raise RecordError("duplicate_field", "a field stands twice in one object: keep one of them")
    return value


def _path(first: Any) -> str:
    """The field, in dots. A name that is not ours may itself be clinical, so it is not repeated."""
    where = list(first["loc"])
    if first["type"] == "extra_forbidden":
        where = where[:-1]
    return ".".join(str(part) for part in where)


def _reason(error: ValidationError) -> str:
    """What is wrong with the first field, then with the others by their names, so far as there is room."""
    first, *others = error.errors(include_url=False, include_input=False, include_context=False)
    said = _fault(first)
    more = "; ".join(f"{_path(each) or 'the record'}: {_fault(each)}" for each in others)
    return f"{said} (and {len(others)} more: {more})"[:300] if others else said[:300]


def _fault(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "there is a field that is not known; see examples/vignettes.ndjson for those that are"
    return str(fault["msg"])
