"""The protocols that models speak: where an address ends, and what is not for `parameters`.

The clients are in workers.clients, a module for each name here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

Name = Literal["openai", "anthropic", "gemini", "ollama"]


@dataclass(frozen=True)
class Protocol:
    """What a model's table may say. A key with a dot is one of the table before the dot."""

    adds: str  # what the client adds to base_url
    not_at_end: tuple[str, ...]  # what base_url must not end in
    ours: frozenset[str]  # keys that the request sets, or that would make another answer of it
    tables: frozenset[str] = frozenset()  # keys that the client adds to
    only: frozenset[str] | None = None  # the keys that there are, where the server ignores all others


PROTOCOLS: Mapping[Name, Protocol] = {
    "openai": Protocol(
        adds="/chat/completions",
        not_at_end=("/chat/completions",),
        ours=frozenset({"model", "messages", "response_format", "stream", "n"}),
    ),
    "anthropic": Protocol(
        adds="/messages",
        not_at_end=("/messages",),
        ours=frozenset(
            {"model", "messages", "system", "stream", "tools", "tool_choice", "output_format"}
            | {"output_config.format"}
        ),
        tables=frozenset({"output_config"}),
    ),
    "gemini": Protocol(
        adds="/models/NAME:generateContent",
        not_at_end=("/models", ":generateContent"),
        ours=frozenset(
            {"model", "contents", "systemInstruction", "tools", "toolConfig", "system_instruction"}
            | {"generation_config"}  # the same as generationConfig, and refused beside it
            | {"generationConfig.responseMimeType", "generationConfig.responseSchema"}
            | {"generationConfig.responseJsonSchema", "generationConfig.candidateCount"}
        ),
        tables=frozenset({"generationConfig"}),
    ),
    "ollama": Protocol(
        adds="/api/chat",
        not_at_end=("/api/chat", "/api", "/v1"),
        ours=frozenset({"model", "messages", "format", "stream", "tools"}),
        tables=frozenset({"options"}),
        only=frozenset({"options", "think", "keep_alive", "truncate", "shift"}),
    ),
}


def check_address(protocol: Name, url: str) -> None:
    """Raises `ValueError` if `url` holds already what the client adds."""
    speaks = PROTOCOLS[protocol]
    if urlsplit(url).path.rstrip("/").endswith(speaks.not_at_end):
        raise ValueError(f"must end before {speaks.adds}, which the client adds")


def check_parameters(protocol: Name, parameters: Mapping[str, Any]) -> None:
    """Raises `ValueError` if a request of the protocol cannot take these beside what it sets itself."""
    speaks = PROTOCOLS[protocol]
    for key in sorted(speaks.tables & parameters.keys()):
        if not isinstance(parameters[key], Mapping):
            raise ValueError(f"{key} must be a table: {key} = {{ … }}")
    given = parameters.keys() | {f"{key}.{k}" for key in speaks.tables for k in parameters.get(key, {})}
    if taken := sorted(speaks.ours & given):
        raise ValueError(f"must not hold {', '.join(taken)}: the request sets it")
    if speaks.only is not None and parameters.keys() - speaks.only:
        known = ", ".join(sorted(speaks.only))
        raise ValueError(f"may hold {known}, and nothing else: what shapes the answer goes into options")
