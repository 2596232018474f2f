"""Reading a model's answer: JSON through fences and prose, a list or a wrapper where an object was asked.

Lenient about the packing, strict about the content: what is inside is validated by its schema as it stands.
Two answers that differ are none. Where an object breaks off or is not well formed, nothing is used: what
looks like an answer within it may be a quotation (a planted "grade: 1.0"), and one before it a draft.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shared.errors import UnreadableAnswer
from shared.schemas import Recommendation

T = TypeVar("T", bound=BaseModel)

MAX_CHARS = 400_000
"""Longer texts are not read; the longest answer that its schema allows is shorter."""
_MAX_OPENINGS = 500  # brackets tried, so that no text costs more than a moment
_MAX_DEPTH = 4  # of an answer
_MAX_FAULTS = 6

# Raw line breaks within strings are accepted; models write them.
_decoder = json.JSONDecoder(strict=False)
_opening = re.compile(r"[{\[]")
_object_begins = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:')
_trailing_comma = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)


def read_answer(raw: str, schema: type[T]) -> T:
    """The one answer in a model's text.

    Raises `UnreadableAnswer`; its `fault` names fields and what is wrong with them, fit for a repair prompt,
    and never quotes the answer.
    """
    if raw.lstrip().startswith("<think>") and "</think>" in raw:
        raw = raw.rpartition("</think>")[2]  # drafts in the thoughts are no answers
    if not raw.strip():
        raise UnreadableAnswer("it is empty")
    if len(raw) > MAX_CHARS:
        raise UnreadableAnswer(f"it is longer than {MAX_CHARS} characters")
    values = _values(raw)
    if values is None:
        values = _values(_trailing_comma.sub(lambda match: match[1] or "", raw))
    if values is None:
        raise UnreadableAnswer("its JSON is not well formed or breaks off")
    answers, faults = _valid(values, schema)
    answers = answers or _bare_list(values, schema)
    if any(answer != answers[0] for answer in answers):
        raise UnreadableAnswer("it holds several answers that differ")
    if not answers:
        raise UnreadableAnswer(min(faults, key=len, default="it holds no JSON object"))
    return answers[0]


def _values(text: str) -> list[Any] | None:
    """All JSON objects and lists in the text, outermost only; None if an object is not well formed."""
    values = []
    position = tried = 0
    while tried < _MAX_OPENINGS and (opening := _opening.search(text, position)):
        tried += 1
        try:
            value, position = _decoder.raw_decode(text, opening.start())
            values.append(value)
        except (ValueError, RecursionError):
            if _object_begins.match(text, opening.start()):
                return None
            position = opening.end()  # a bracket of the prose
    return values


def _valid(values: list[Any], schema: type[T]) -> tuple[list[T], list[str]]:
    """The answers among the values, and for each other object its fault."""
    answers: list[T] = []
    faults = []
    for candidate in (c for value in values for c in _objects(value)):
        try:
            answers.append(schema.model_validate(_without_nulls(candidate)))
        except ValidationError as error:
            echo = isinstance(candidate.get("properties"), dict)
            faults.append("it is the schema itself, not an answer by it" if echo else _fault(error))
    return answers, faults


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """The objects that may be the answer: the value, the one that it only wraps, or those that it lists."""
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))
    elif len(value) == 1 and isinstance(inner := next(iter(value.values())), dict):
        yield inner
    else:
        yield value


def _bare_list(values: list[Any], schema: type[T]) -> list[T]:
    """A list of medications and nothing else: its decision is to recommend them."""
    if schema is not Recommendation or len(values) != 1 or not isinstance(values[0], list):
        return []
    return _valid([{"decision": "recommend", "medications": values[0]}], schema)[0]


def _without_nulls(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """A field that is null is one that is not given."""
    if depth and isinstance(value, dict):
        return {key: _without_nulls(inner, depth - 1) for key, inner in value.items() if inner is not None}
    if depth and isinstance(value, list):
        return [_without_nulls(inner, depth - 1) for inner in value]
    return value


def _fault(error: ValidationError) -> str:
    """Fields of the schema and pydantic's words for them: no input, no keys that the model made up."""
    faults = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        field = ".".join(str(step) for step in detail["loc"]) or "the object"
        faults.append(f"{field}: {detail['msg'].removeprefix('Value error, ')}")
    more = len(faults) - _MAX_FAULTS
    return "; ".join(faults[:_MAX_FAULTS]) + (f"; and {more} more" if more > 0 else "")
