"""The NDJSON reader: one record a line. A bad line is set aside with its line, field and reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from shared.errors import RecordError
from shared.schemas import Vignette

MAX_LINE = 256 * 1024
"""Longest line that is read, in bytes."""


@dataclass(frozen=True)
class Read:
    """One record of the input: a vignette, or what is wrong with it and the text to set aside."""

    line: int  # 1-based
    vignette: Vignette | None
    error: RecordError | None = None
    text: str = ""


def read_ndjson(lines: Iterable[bytes]) -> Iterator[Read]:
    """The records of an NDJSON stream, lazily. Empty lines and a byte order mark are no errors."""
    for number, raw in enumerate(lines, start=1):
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip():
            continue
        try:
            yield Read(number, _parse(raw))
        except RecordError as error:
            error.line = number
            yield Read(number, None, error, raw[:MAX_LINE].decode(errors="replace").strip())


def _parse(raw: bytes) -> Vignette:
    if len(raw) > MAX_LINE:
        raise RecordError("too_long", f"the line has {len(raw)} bytes; at most {MAX_LINE} are read")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise RecordError(
            "not_utf8", f"byte {error.start + 1} is not UTF-8: save the file as UTF-8"
        ) from None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise RecordError("not_json", f"{error.msg} at column {error.colno}") from None
    except RecursionError:
        raise RecordError("not_json", "nested too deeply") from None
    if not isinstance(value, dict):
        raise RecordError("not_an_object", "a record is one JSON object per line")
    if "\x00" in text or "\\u0000" in text:
        raise RecordError("nul_character", "the text holds a NUL character: remove it")
    try:
        return Vignette.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise RecordError(first["type"], _reason(error, first), path=_path(first)) from None


def _no_constant(_name: str) -> Any:
    raise RecordError("not_json", "NaN and Infinity are not JSON")


def _path(first: Any) -> str:
    """The field, in dots. A name that is not ours may itself be clinical, so it is not repeated."""
    where = list(first["loc"])
    if first["type"] == "extra_forbidden":
        where = where[:-1]
    return ".".join(str(part) for part in where)


def _reason(error: ValidationError, first: Any) -> str:
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"there is a field that is not known; see examples/vignettes.ndjson for those that are{more}"
    return f"{first['msg']}{more}"[:300]
