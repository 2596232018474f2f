"""The OpenAI-compatible protocol (OpenAI, vLLM, llama.cpp, gateways, the panel): {base_url}/chat/completions.

| what comes back | error |
| --- | --- |
| 429 | `RateLimited` with Retry-After; but `insufficient_quota` is `Rejected`: waiting does not help |
| 408, 425, 499, 5xx, no connection, cut, late, not JSON, no choices | `Unavailable`, with Retry-After |
| a 200 with an `error`, beside an answer or without one | that of its code; `Unavailable` without one |
| finish reason `error`, `insufficient_system_resource` | `Unavailable` |
| `refusal`, finish reason or error code `content_filter` | `Refused` |
| finish reason `length`, error code `context_length_exceeded` | `OverLength` |
| redirects, which are not followed, and any other 4xx | `Rejected` |

A content that is not what was asked for, or none, is no error here: it is stored, and read elsewhere. What a
model thought (`reasoning_content`) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import ModelError, OverLength, Refused, Rejected, Unavailable
from shared.registry import Model
from workers.clients import Message, Reply, exchange, read_key
from workers.clients.connections import CallsInFlight, HTTPAnswer, calls_in_flight
from workers.clients.shapes import shape

# Errors whose code or type says more than their status.
_CODES: dict[str, type[ModelError]] = {
    "context_length_exceeded": OverLength,
    "exceed_context_size_error": OverLength,  # llama.cpp
    "string_above_max_length": OverLength,
    "content_filter": Refused,
    "content_policy_violation": Refused,
    "insufficient_quota": Rejected,
    "billing_hard_limit_reached": Rejected,
    "invalid_api_key": Rejected,
    "model_not_found": Rejected,
    "unsupported_parameter": Rejected,
    "unsupported_value": Rejected,
}
_BROKEN = ("error", "insufficient_system_resource")  # finish reasons of OpenRouter and DeepSeek: cut short
_TOO_LONG = re.compile(r"maximum context length|context (size|length|window)", re.IGNORECASE)  # vLLM: no code


def ask(
    model: Model,
    messages: Sequence[Message],
    *,
    schema_name: str,
    schema: Mapping[str, Any],
    request_id: str,
    seed: int | None = None,
    calls: CallsInFlight = calls_in_flight,
) -> Reply:
    """One chat completion; see `workers.clients.Client.ask`."""
    body: dict[str, Any] = {**model.parameters, "model": model.model, "messages": [dict(m) for m in messages]}
    if model.structured:
        asked = {"name": schema_name, "schema": shape(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": asked}
    if seed is not None:
        body["seed"] = seed
    key = read_key(model)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer, duration_s = exchange.send(
        model, "/chat/completions", body, headers=headers, request_id=request_id, calls=calls
    )
    envelope = exchange.json_object(answer)
    if answer.status != 200:
        raise _error(answer, envelope, answer.status)
    return _reply(answer, envelope, duration_s)


def _reply(answer: HTTPAnswer, envelope: dict[str, Any], duration_s: float) -> Reply:
    """The reply in a 200. Raises `Refused`, `OverLength`, `Unavailable`."""
    tokens = _tokens(exchange.table(envelope.get("usage")))
    choices = envelope.get("choices")
    choice = exchange.table(choices[0]) if isinstance(choices, list) and choices else {}
    # a gateway: 200 for what failed behind it, with half an answer or none
    if error := exchange.table(envelope.get("error")) or exchange.table(choice.get("error")):
        code = error.get("code")
        failed = _error(
            answer, {"error": error}, code if isinstance(code, int) and 400 <= code < 600 else 502
        )
        failed.prompt_tokens, failed.completion_tokens = tokens["prompt_tokens"], tokens["completion_tokens"]
        raise failed
    message, finish = choice.get("message"), choice.get("finish_reason")
    if not isinstance(message, dict) or finish in _BROKEN:
        raise Unavailable("200, but no chat completion", status=200, **tokens)
    if message.get("refusal") or finish == "content_filter":
        raise Refused("the model declined to answer", status=200, **tokens)
    if finish == "length":
        raise OverLength("the answer was longer than max_tokens allows", status=200, **tokens)
    return Reply(
        raw_text=exchange.text(message.get("content")),
        returned_model=exchange.name(envelope.get("model")),
        fingerprint=exchange.name(envelope.get("system_fingerprint")),
        finish_reason=exchange.name(finish),
        duration_s=duration_s,
        **tokens,
    )


def _tokens(usage: dict[str, Any]) -> dict[str, int | None]:
    """Those paid for. xAI and gateways before Gemini count thoughts in `total_tokens` alone."""
    prompt, completion, total = (
        exchange.count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    if total is not None and prompt is not None:
        completion = max(completion or 0, total - prompt)
    return {"prompt_tokens": prompt, "completion_tokens": completion}


def _error(answer: HTTPAnswer, envelope: dict[str, Any], status: int) -> ModelError:
    """The typed error of a response that is none of an answer."""
    error = exchange.table(envelope.get("error")) or envelope  # vLLM's older form: no `error` around it
    words = [word for word in (error.get("code"), error.get("type")) if isinstance(word, str)]
    known = next((word for word in words if word in _CODES), None)
    kind = None
    if known is not None and 400 <= status < 500:
        kind = _CODES[known]
    elif status == 400 and _TOO_LONG.search(str(error.get("message"))):
        kind = OverLength
    return exchange.error(answer, status, word=known, kind=kind)
