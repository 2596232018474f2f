"""Prompts: versioned templates with the schema of the answer, and the messages made of them.

    shared/prompts/<kind>.v<version>.txt     sections [system] and [user]; $case, $schema, …

A prompt's id is the digest of template and schema, so any change of either is another prompt. Sections are
told apart before anything is put in, and what is put in cannot imitate a marker or a fence.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from string import Template
from typing import Any

from shared.blind import case_markers, strip_invisible
from shared.schemas import Recommendation, ReviewAnswer, Vignette

Message = dict[str, str]
"""{"role": "system" | "user" | "assistant", "content": text}"""


@dataclass(frozen=True)
class Prompt:
    """A template and the JSON schema of its answer ({} where it has none of its own); `id` is of 64 hex."""

    id: str
    kind: str
    name: str
    template: str
    schema: dict[str, Any] = field(hash=False)


def prompt_id(template: str, schema: dict[str, Any]) -> str:
    """SHA-256 (hex) of the template and the schema as canonical JSON."""
    return hashlib.sha256(f"{template}\0{_canonical(schema)}".encode()).hexdigest()


def render_case(vignette: Vignette) -> str:
    """The case as every prompt shows it: the text, an empty line, one line for each thing that is known."""
    context = vignette.context
    known = {
        "Age": None if context.age is None else f"{context.age:g} years",
        "Sex": context.sex,
        "Conditions": "; ".join(context.conditions),
        "Allergies": "; ".join(context.allergies),
        "Current medications": "; ".join(f"{m.name} {m.dose or ''}".strip() for m in context.medications),
        "Pregnant": None if context.pregnant is None else ("yes" if context.pregnant else "no"),
        "eGFR": None if context.egfr is None else f"{context.egfr:g} mL/min/1.73 m²",
    }
    lines = [f"{name}: {' '.join(value.split())}" for name, value in known.items() if value]
    return _neutral("\n".join([vignette.vignette, *(["", *lines] if lines else [])]))


def generate_messages(prompt: Prompt, case: str) -> list[Message]:
    """What a seat is asked. `case` as `render_case` gives it."""
    return _messages(prompt, case=_neutral(case))


def review_messages(prompt: Prompt, case: str, rendered: str, label: str, fence: str) -> list[Message]:
    """What a reviewer is asked about one answer. `rendered` as `shared.blind.render_answer` gives it."""
    answer = _neutral(rendered).replace(fence, "")
    return _messages(prompt, case=_neutral(case).replace(fence, ""), answer=answer, label=label, fence=fence)


def repair_messages(messages: Sequence[Message], raw: str, fault: str) -> list[Message]:
    """The same messages, the answer that could not be read, and the request for one that can."""
    return [*messages, {"role": "assistant", "content": raw}, *_messages(REPAIR, fault=fault)]


def _messages(prompt: Prompt, **values: str) -> list[Message]:
    sections, values["schema"] = _sections(prompt)
    return [{"role": role, "content": text.substitute(values)} for role, text in sections]


@lru_cache(maxsize=8)
def _sections(prompt: Prompt) -> tuple[list[tuple[str, Template]], str]:
    """The messages to be, role and template, and the schema as text."""
    # split before substituting: a value that looks like a section or holds a `$` stays text
    parts = re.split(r"^\[(system|user)\]\n", prompt.template, flags=re.MULTILINE)[1:]
    templates = [Template(text.rstrip("\n")) for text in parts[1::2]]
    return list(zip(parts[::2], templates, strict=True)), _canonical(prompt.schema)


_FENCE = re.compile(r"<<<+|>>>+")


def _neutral(text: str) -> str:
    """The same text, without anything that a model could take for our markers or fences."""
    text = strip_invisible(text)
    for match in reversed(list(case_markers(text))):
        text = f"{text[: match.start()]}{match[1]} of case{text[match.end() :]}"
    return _FENCE.sub(lambda match: match[0][:2], text)


def _canonical(schema: dict[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _load(kind: str, version: int, schema: dict[str, Any]) -> Prompt:
    name = f"{kind}.v{version}"
    template = resources.files(__package__).joinpath(f"{name}.txt").read_text(encoding="utf-8")
    return Prompt(prompt_id(template, schema), kind, name, template, schema)


GENERATE = _load("generate", 1, Recommendation.model_json_schema())
REVIEW = _load("review", 1, ReviewAnswer.model_json_schema())
REPAIR = _load("repair", 1, {})
