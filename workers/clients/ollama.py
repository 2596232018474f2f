"""Ollama's own API: {base_url}/api/chat, not streamed. (Its /v1 is OpenAI-compatible: protocol "openai".)

Shapes: docs.ollama.com/api/chat and /api/errors.

| what comes back | error |
| --- | --- |
| 429 (hosted models) | `RateLimited` with Retry-After |
| 503 (its queue is full), other 5xx (no memory, the runner died), no connection, cut, late | `Unavailable` |
| no JSON, an answer that is not done, a model that was only loaded | `Unavailable` |
| done reason `length`, a prompt that does not fit the context | `OverLength` |
| 404 (a model that was not pulled), any other 4xx | `Rejected` |

By default Ollama cuts a prompt that is longer than its context, silently: half a case. `truncate` and
`shift` are off here, so that this is an error; `options.num_ctx` sets the context. What a model thought
(`thinking`) is not read. The protocol returns the model's name, but no digest of what stands behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import ModelError, OverLength, Unavailable
from shared.registry import Model
from workers.clients import Message, Reply, exchange, read_key
from workers.clients.connections import CallsInFlight, HTTPAnswer, calls_in_flight
from workers.clients.shapes import shape

# There are no codes: Ollama's own words, and those of its llama.cpp runner.
_TOO_LONG = re.compile(r"exceeds? the (available |maximum )?context|exceed_context_size", re.IGNORECASE)


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
    """One chat; see `workers.clients.Client.ask`."""
    body: dict[str, Any] = {
        "truncate": False,
        "shift": False,
        **model.parameters,
        "model": model.model,
        "messages": [dict(m) for m in messages],
        "stream": False,
    }
    if model.structured:
        body["format"] = shape(schema)
    if seed is not None:
        body["options"] = {**body.get("options", {}), "seed": seed}
    key = read_key(model)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer, duration_s = exchange.send(
        model, "/api/chat", body, headers=headers, request_id=request_id, calls=calls
    )
    envelope = _joined(answer) if _streamed(answer) else exchange.json_object(answer)
    if answer.status != 200 or "error" in envelope:
        raise _error(answer, envelope, answer.status if answer.status != 200 else 502)
    return _reply(envelope, duration_s)


def _streamed(answer: HTTPAnswer) -> bool:
    return answer.status == 200 and exchange.media_type(answer) == "application/x-ndjson"


def _joined(answer: HTTPAnswer) -> dict[str, Any]:
    """A stream that came although none was asked for, as the one object that it should have been."""
    try:
        lines = exchange.rows([json.loads(line) for line in answer.body.splitlines() if line.strip()])
    except (ValueError, RecursionError):
        raise Unavailable("200, but no JSON lines", status=200) from None
    if failed := next((line for line in lines if "error" in line), None):
        return failed
    contents = [exchange.text(exchange.table(line.get("message")).get("content")) for line in lines]
    return {**(lines[-1] if lines else {}), "message": {"content": "".join(contents)}}


def _reply(envelope: dict[str, Any], duration_s: float) -> Reply:
    """The reply in a 200. Raises `OverLength`, `Unavailable`."""
    tokens = {
        "prompt_tokens": exchange.count(envelope.get("prompt_eval_count")),
        "completion_tokens": exchange.count(envelope.get("eval_count")),
    }
    message, reason = envelope.get("message"), envelope.get("done_reason")
    if not isinstance(message, dict) or envelope.get("done") is not True or reason in ("load", "unload"):
        raise Unavailable("200, but no answer that is done", status=200, **tokens)
    if reason == "length":
        raise OverLength("the answer was longer than num_predict or num_ctx allows", status=200, **tokens)
    return Reply(
        raw_text=exchange.text(message.get("content")),
        returned_model=exchange.name(envelope.get("model")),
        fingerprint=None,
        finish_reason=exchange.name(reason),
        duration_s=duration_s,
        **tokens,
    )


def _error(answer: HTTPAnswer, envelope: dict[str, Any], status: int) -> ModelError:
    """The typed error of a response that is no answer; its `error` is a sentence."""
    too_long = _TOO_LONG.search(str(envelope.get("error")))
    return exchange.error(answer, status, kind=OverLength if too_long else None)
