"""An answer's JSON schema as providers take it: the shape alone, without what they refuse or cannot hold.

What is left out here is not lost: the prompt states the whole schema, and shared.reading checks every answer
against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

LENGTHS = frozenset({"minLength", "maxLength", "minItems", "maxItems"})
"""llama.cpp (and so Ollama) makes a grammar of the schema and refuses one with a string bound of 2,000 or
more (ggml-org/llama.cpp#25746, #27087); Gemini refuses bounds that need too many states."""

BOUNDS = LENGTHS | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "default"}
"""Anthropic refuses numeric bounds as well (docs: structured outputs, JSON Schema limitations)."""


def shape(schema: Mapping[str, Any], without: Set[str] = LENGTHS, *, closed: bool = False) -> dict[str, Any]:
    """`schema` without these keywords at any depth; `closed`: its objects have no further properties."""
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):  # here the keys are names, which may read like a keyword
            made[key] = {name: shape(part, without, closed=closed) for name, part in value.items()}
        elif key in without:
            continue
        elif key in ("anyOf", "allOf", "oneOf"):
            made[key] = [shape(part, without, closed=closed) for part in value]
        elif key == "items":
            made[key] = shape(value, without, closed=closed)
        else:
            made[key] = value
    if closed and made.get("type") == "object":
        made["additionalProperties"] = False
    return made
