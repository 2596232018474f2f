"""The published shapes of answers and errors of Anthropic, Gemini and Ollama."""

from __future__ import annotations

import json
from typing import Any

from tests.workers.chat_server import CANARY, completion


def message(*blocks: dict[str, Any], stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    """Anthropic's; without blocks one of text."""
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "oak-2026-10-01",
        "content": list(blocks or [{"type": "text", "text": CANARY, "citations": None}]),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 100,
            "cache_creation_input_tokens": 15,
            "cache_read_input_tokens": 5,
            "output_tokens": 45,
        },
        **more,
    }


def anthropic_error(kind: str, text: str = CANARY, **more: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": text, **more}, "request_id": "req_01"}


def generated(*parts: dict[str, Any], finish: str = "STOP", **more: Any) -> dict[str, Any]:
    """Gemini's; without parts one of text."""
    candidate = {
        "content": {"parts": list(parts or [{"text": CANARY}]), "role": "model"},
        "finishReason": finish,
        "index": 0,
    }
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": 120,
            "candidatesTokenCount": 30,
            "thoughtsTokenCount": 15,
            "totalTokenCount": 165,
        },
        "modelVersion": "oak-2026-10-01",
        "responseId": "r1",
        **more,
    }


def gemini_error(code: int, status: str, text: str = CANARY, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": text, "status": status, "details": list(details)}}


def quota(*ids: str) -> dict[str, Any]:
    violations = [{"quotaMetric": "m", "quotaId": i, "quotaValue": "250"} for i in ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


def delay(duration: Any) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": duration}


def chat(content: Any = CANARY, *, reason: str = "stop", **more: Any) -> dict[str, Any]:
    """Ollama's."""
    said = {"role": "assistant", "content": content, "thinking": f"hm {CANARY}"}
    return {
        "model": "oak-2026-10-01",
        "created_at": "2026-11-02T10:00:00.1Z",
        "message": said,
        "done": True,
        "done_reason": reason,
        "total_duration": 4_883_583_458,
        "load_duration": 1_334_875,
        "prompt_eval_count": 120,
        "prompt_eval_duration": 342_546_000,
        "eval_count": 45,
        "eval_duration": 4_535_599_000,
        **more,
    }


def stream(*pieces: str, **last: Any) -> bytes:
    """Ollama's NDJSON of an answer in pieces."""
    lines = [
        {"model": "oak-2026-10-01", "message": {"role": "assistant", "content": piece}, "done": False}
        for piece in pieces
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, {**chat(""), **last}])


GOOD = {"openai": completion, "anthropic": message, "gemini": generated, "ollama": chat}
"""An answer of each protocol: CANARY by oak-2026-10-01, for 120 tokens of prompt and 45 of answer."""

ERRORS = {
    "openai": {"error": {"message": CANARY, "type": CANARY, "code": None}},
    "anthropic": anthropic_error("invalid_request_error"),
    "gemini": gemini_error(400, "INVALID_ARGUMENT"),
    "ollama": {"error": CANARY},
}
"""An error of each protocol that says no more than its status."""
