"""Gemini's generateContent: {base_url}/models/{model}:generateContent, the key in a header.

Shapes: ai.google.dev/api/generate-content, and google.rpc (Status, ErrorInfo, RetryInfo, QuotaFailure) for
errors.

| what comes back | error |
| --- | --- |
| 429 `RESOURCE_EXHAUSTED` | `RateLimited` with RetryInfo's delay; a quota by the day is `Rejected` |
| 408, 499, 5xx (`UNAVAILABLE`, …), no connection, cut, late, not JSON, no candidate | `Unavailable` |
| a block reason; finish reason `SAFETY`, `RECITATION`, `PROHIBITED_CONTENT` and the like | `Refused` |
| finish reason `MAX_TOKENS`, a prompt that is too long | `OverLength` |
| `INVALID_ARGUMENT`, `PERMISSION_DENIED`, `NOT_FOUND`, any other 4xx | `Rejected` |

A quota by the day ends at midnight Pacific time: until then each call would be refused, and the circuit
breaker's probes find its end. Thought parts are not read; their tokens are paid as those of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from shared.errors import ModelError, OverLength, Refused, Rejected, Unavailable
from shared.registry import Model
from workers.clients import Message, Reply, exchange, read_key
from workers.clients.connections import CallsInFlight, HTTPAnswer, calls_in_flight
from workers.clients.shapes import shape

_REFUSALS = frozenset(
    {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"}
    | {"MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED"}
)
# The codes of google.rpc, with the status of each where a gateway hides it behind a 200.
_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_TOO_LONG = re.compile(r"input token count.* exceeds the maximum", re.IGNORECASE)  # no code


def ask(
    model: Model,
    messages: Sequence[Message],
    *,
    schema_name: str,  # noqa: ARG001 (the protocol's formats have no name)
    schema: Mapping[str, Any],
    request_id: str,
    seed: int | None = None,
    calls: CallsInFlight = calls_in_flight,
) -> Reply:
    """One generation; see `workers.clients.Client.ask`."""
    system, turns = exchange.conversation(messages)
    config = dict(model.parameters.get("generationConfig", {}))
    if model.structured:
        config |= {"responseMimeType": "application/json", "responseJsonSchema": shape(schema)}
    if seed is not None:
        config["seed"] = seed
    contents = [
        {"role": "model" if turn["role"] == "assistant" else "user", "parts": [{"text": turn["content"]}]}
        for turn in turns
    ]
    body: dict[str, Any] = {**model.parameters, "contents": contents, "generationConfig": config}
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    key = read_key(model)
    answer, duration_s = exchange.send(
        model,
        f"/models/{quote(model.model, safe='')}:generateContent",
        body,
        headers={"x-goog-api-key": key} if key else {},
        request_id=request_id,
        calls=calls,
    )
    envelope = exchange.json_object(answer)
    if answer.status != 200:
        raise _error(answer, envelope, answer.status)
    return _reply(answer, envelope, duration_s)


def _reply(answer: HTTPAnswer, envelope: dict[str, Any], duration_s: float) -> Reply:
    """The reply in a 200. Raises `Refused`, `OverLength`, `Unavailable`."""
    tokens = _tokens(exchange.table(envelope.get("usageMetadata")))
    if exchange.table(envelope.get("promptFeedback")).get("blockReason"):
        raise Refused("the prompt was blocked", status=200, **tokens)
    candidates = exchange.rows(envelope.get("candidates"))
    if not candidates:
        if error := exchange.table(envelope.get("error")):
            raise _error(answer, envelope, _CODES.get(str(error.get("status")), 502))
        raise Unavailable("200, but no candidate", status=200, **tokens)
    finish = exchange.name(candidates[0].get("finishReason"))
    if finish in _REFUSALS:
        raise Refused(f"the model declined to answer: {finish}", status=200, **tokens)
    if finish == "MAX_TOKENS":
        raise OverLength("the answer was longer than maxOutputTokens allows", status=200, **tokens)
    parts = exchange.rows(exchange.table(candidates[0].get("content")).get("parts"))
    return Reply(
        raw_text=exchange.text([part for part in parts if not part.get("thought")]),
        returned_model=exchange.name(envelope.get("modelVersion")),
        fingerprint=None,
        finish_reason=finish,
        duration_s=duration_s,
        **tokens,
    )


def _tokens(usage: dict[str, Any]) -> dict[str, int | None]:
    """Tokens of prompt and answer, thoughts included. A count of 0 is left out by the protocol: the total
    tells it from one that is not known."""
    prompt, answer, thoughts, total = (
        exchange.count(usage.get(f"{which}TokenCount"))
        for which in ("prompt", "candidates", "thoughts", "total")
    )
    if answer is not None:
        answer += thoughts or 0
    elif prompt is not None and total is not None and total >= prompt:
        answer = total - prompt
    return {"prompt_tokens": prompt, "completion_tokens": answer}


def _error(answer: HTTPAnswer, envelope: dict[str, Any], status: int) -> ModelError:
    """The typed error of a response that is no answer."""
    error = exchange.table(envelope.get("error"))
    word = error.get("status")
    details = exchange.rows(error.get("details"))
    kind: type[ModelError] | None = None
    if status == 400 and _TOO_LONG.search(str(error.get("message"))):
        kind = OverLength
    elif status == 409 and word == "ABORTED":
        kind = Unavailable
    elif status == 429 and any("PerDay" in quota for quota in _quotas(details)):
        kind = Rejected
    known = word if isinstance(word, str) and word in _CODES else None
    return exchange.error(answer, status, word=known, kind=kind, wait_s=_delay_s(details))


def _of_type(details: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [detail for detail in details if str(detail.get("@type")).endswith(f"/google.rpc.{name}")]


def _quotas(details: list[dict[str, Any]]) -> list[str]:
    """The ids of the quotas that are used up, such as "GenerateRequestsPerDayPerProjectPerModel"."""
    failures = _of_type(details, "QuotaFailure")
    return [str(v.get("quotaId")) for failure in failures for v in exchange.rows(failure.get("violations"))]


def _delay_s(details: list[dict[str, Any]]) -> float | None:
    """RetryInfo's delay, a Duration as JSON has it: "26s", "1.5s"."""
    given = [str(info.get("retryDelay")) for info in _of_type(details, "RetryInfo")]
    return next((float(d[:-1]) for d in given if re.fullmatch(r"\d{1,12}(\.\d{1,9})?s", d)), None)
