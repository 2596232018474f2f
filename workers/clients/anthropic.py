"""Anthropic's Messages API (and gateways that speak it): {base_url}/messages.

Shapes: platform.claude.com/docs, "Messages", "Errors", "Structured outputs", "Stop reasons".

| what comes back | error |
| --- | --- |
| 429 `rate_limit_error` | `RateLimited` with Retry-After; but a spend limit that is reached is `Rejected` |
| 529 `overloaded_error`, 408, 5xx, no connection, cut, late, not JSON, no message | `Unavailable` |
| stop reason `refusal` | `Refused` |
| stop reason `max_tokens` or `model_context_window_exceeded`, a prompt that is too long, 413 | `OverLength` |
| `authentication_error`, `billing_error`, `permission_error`, `not_found_error`, any other 4xx | `Rejected` |

Structure is asked for by `output_config.format`, not by a forced tool, which thinking models refuse. Thinking
blocks are not read. The protocol has no seed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import ModelError, OverLength, Refused, Rejected, Unavailable
from shared.registry import Model
from workers.clients import Message, Reply, exchange, read_key
from workers.clients.connections import CallsInFlight, HTTPAnswer, calls_in_flight
from workers.clients.shapes import BOUNDS, shape

VERSION = "2023-06-01"
"""Of the protocol: every gateway speaks it, and it takes `temperature` where the model has one.
What is sent here is the same in 2026-10-21, which is without it."""

MAX_TOKENS = 8192
"""What an answer may have where `parameters` names no `max_tokens`: the protocol requires one."""

# The published types, and the status of each where a gateway hides it behind a 200.
_TYPES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# Of 429s for which waiting does not help (`error.error_code`, or `error.details.error_code`).
_SPENT = ("contract_spend_limit_reached", "enforced_spend_limit_reached")
_TOO_LONG = re.compile(r"prompt is too long|exceed context limit|context window", re.IGNORECASE)  # no code


def ask(
    model: Model,
    messages: Sequence[Message],
    *,
    schema_name: str,  # noqa: ARG001 (the protocol's formats have no name)
    schema: Mapping[str, Any],
    request_id: str,
    seed: int | None = None,  # noqa: ARG001
    calls: CallsInFlight = calls_in_flight,
) -> Reply:
    """One message; see `workers.clients.Client.ask`."""
    system, turns = exchange.conversation(messages)
    body: dict[str, Any] = {"max_tokens": MAX_TOKENS, **model.parameters, "model": model.model}
    body["messages"] = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    if system:
        body["system"] = system
    if model.structured:
        asked = {"type": "json_schema", "schema": shape(schema, BOUNDS, closed=True)}
        body["output_config"] = {**body.get("output_config", {}), "format": asked}
    headers = {"anthropic-version": VERSION}
    if key := read_key(model):
        headers["x-api-key"] = key
    answer, duration_s = exchange.send(
        model, "/messages", body, headers=headers, request_id=request_id, calls=calls
    )
    envelope = exchange.json_object(answer)
    if answer.status != 200:
        raise _error(answer, envelope, answer.status)
    return _reply(answer, envelope, duration_s)


def _reply(answer: HTTPAnswer, envelope: dict[str, Any], duration_s: float) -> Reply:
    """The reply in a 200. Raises `Refused`, `OverLength`, `Unavailable`."""
    usage = exchange.table(envelope.get("usage"))
    tokens = {
        "prompt_tokens": _prompt_tokens(usage),
        "completion_tokens": exchange.count(usage.get("output_tokens")),  # thinking included
    }
    if not isinstance(envelope.get("content"), list):
        if error := exchange.table(envelope.get("error")):
            raise _error(answer, envelope, _TYPES.get(str(error.get("type")), 502))
        raise Unavailable("200, but no message", status=200, **tokens)
    stop = envelope.get("stop_reason")
    if stop == "refusal":
        raise Refused("the model declined to answer", status=200, **tokens)
    if stop in ("max_tokens", "model_context_window_exceeded"):
        raise OverLength(f"the answer was cut short: {stop}", status=200, **tokens)
    blocks = exchange.rows(envelope["content"])
    return Reply(
        raw_text=exchange.text([block for block in blocks if block.get("type") == "text"]),
        returned_model=exchange.name(envelope.get("model")),
        fingerprint=None,
        finish_reason=exchange.name(stop),
        duration_s=duration_s,
        **tokens,
    )


def _prompt_tokens(usage: dict[str, Any]) -> int | None:
    """All tokens read: those written to or read from a cache are counted beside `input_tokens`."""
    fresh = exchange.count(usage.get("input_tokens"))
    cached = (usage.get("cache_creation_input_tokens"), usage.get("cache_read_input_tokens"))
    return None if fresh is None else fresh + sum(exchange.count(part) or 0 for part in cached)


def _error(answer: HTTPAnswer, envelope: dict[str, Any], status: int) -> ModelError:
    """The typed error of a response that is no message."""
    error = exchange.table(envelope.get("error"))
    word = error.get("type")
    code = error.get("error_code") or exchange.table(error.get("details")).get("error_code")
    kind: type[ModelError] | None = None
    if status == 413 or (status == 400 and _TOO_LONG.search(str(error.get("message")))):
        kind = OverLength
    elif status == 429 and code in _SPENT:
        word, kind = code, Rejected
    known = isinstance(word, str) and (word in _TYPES or word in _SPENT)
    return exchange.error(answer, status, word=word if known else None, kind=kind)
