"""The OpenAI-compatible protocol (OpenAI, vLLM, llama.cpp, gateways, the panel): {base_url}/chat/completions.

| what comes back | error |
| --- | --- |
| 429 | `RateLimited` with Retry-After; but `insufficient_quota` is `Rejected`: waiting does not help |
| 408, 425, 5xx, no connection, cut, late, not JSON, no choices | `Unavailable`, with Retry-After if given |
| `refusal`, finish reason or error code `content_filter` | `Refused` |
| finish reason `length`, error code `context_length_exceeded` | `OverLength` |
| redirects, which are not followed, and any other 4xx | `Rejected` |

A content that is not what was asked for, or none, is no error here: it is stored, and read elsewhere.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from shared.errors import ModelError, OverLength, RateLimited, Refused, Rejected, Unavailable
from shared.registry import Model
from workers.clients import Message, Reply, read_key
from workers.clients.connections import CallsInFlight, HTTPAnswer, calls_in_flight

MAX_RETRY_AFTER_S = 86_400.0
"""A longer Retry-After is taken for a day."""

# Errors whose code or type says more than their status. Only these words reach a message of ours: what else
# a server writes may quote the prompt.
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
        shape = {"name": schema_name, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    if seed is not None:
        body["seed"] = seed
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "consilium",
        "X-Request-ID": request_id,
    }
    if key := read_key(model):
        headers["Authorization"] = f"Bearer {key}"
    started = time.monotonic()
    answer = calls.post(
        f"{model.base_url}/chat/completions",
        headers=headers,
        content=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        connect_s=model.connect_s,
        deadline_s=model.deadline_s,
    )
    duration_s = time.monotonic() - started
    envelope = _json(answer)
    if answer.status != 200:
        raise _error(answer, envelope, answer.status)
    return _reply(answer, envelope, duration_s)


def _reply(answer: HTTPAnswer, envelope: dict[str, Any], duration_s: float) -> Reply:
    """The reply in a 200. Raises `Refused`, `OverLength`, `Unavailable`."""
    usage = _dict(envelope.get("usage"))
    tokens = {name: _count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")}
    choices = envelope.get("choices")
    choice = _dict(choices[0]) if isinstance(choices, list) and choices else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        if error := _dict(envelope.get("error")):  # a gateway that answers 200 for what failed behind it
            code = error.get("code")
            raise _error(answer, envelope, code if isinstance(code, int) and 400 <= code < 600 else 502)
        raise Unavailable("200, but no chat completion", status=200, **tokens)
    finish = choice.get("finish_reason")
    if message.get("refusal") or finish == "content_filter":
        raise Refused("the model declined to answer", status=200, **tokens)
    if finish == "length":
        raise OverLength("the answer was longer than max_tokens allows", status=200, **tokens)
    return Reply(
        raw_text=_text(message.get("content")),
        returned_model=_name(envelope.get("model")),
        fingerprint=_name(envelope.get("system_fingerprint")),
        finish_reason=_name(finish),
        duration_s=duration_s,
        **tokens,
    )


def _error(answer: HTTPAnswer, envelope: dict[str, Any], status: int) -> ModelError:
    """The typed error of a response that is none of an answer."""
    error = _dict(envelope.get("error")) or envelope  # vLLM's older form has no `error` around it
    words = [word for word in (error.get("code"), error.get("type")) if isinstance(word, str)]
    known = next((word for word in words if word in _CODES), None)
    kind: type[ModelError]
    if known is not None and 400 <= status < 500:
        kind = _CODES[known]
    elif status == 400 and _TOO_LONG.search(str(error.get("message"))):
        kind = OverLength
    elif status == 429:
        kind = RateLimited
    elif 300 <= status < 500 and status not in (408, 425):
        kind = Rejected
    else:
        kind = Unavailable
    what = f"{status} {known}" if known else f"{status}, a redirect" if 300 <= status < 400 else f"{status}"
    return kind(what, status=status, retry_after_s=_retry_after_s(answer.headers))


def _json(answer: HTTPAnswer) -> dict[str, Any]:
    """The body as a JSON object. Of an error, {} if it is none; of a 200, `Unavailable`."""
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    found: Any = None
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            found = None  # said below
    if isinstance(found, dict):
        return found
    if answer.status == 200:
        raise Unavailable("200, but no JSON object", status=200)
    return {}


def _retry_after_s(headers: httpx.Headers) -> float | None:
    """Seconds to wait at least: from seconds, or from an HTTP date against the server's own clock."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", value):
        wait_s = float(value)
    elif (until := _date(value)) is not None:
        wait_s = (until - (_date(headers.get("Date", "")) or datetime.now(UTC))).total_seconds()
    else:
        return None
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _text(content: Any) -> str:
    """The content's text, which some servers cut into parts; "" if there is none. Always valid UTF-8."""
    if isinstance(content, list):
        content = "".join(str(_dict(part).get("text") or "") for part in content)
    return content.encode("utf-8", "replace").decode() if isinstance(content, str) else ""


def _name(value: Any) -> str | None:
    """A short printable name, else None."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 100 else None


def _count(value: Any) -> int | None:
    """A number of tokens, else None: not known."""
    return value if type(value) is int and 0 <= value < 2**31 else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
