"""The client of Anthropic's Messages API against a real HTTP server with the published shapes."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import ModelError, OverLength, RateLimited, Refused, Rejected, Unavailable
from tests.workers.asking import FULL_SCHEMA, KEY, MESSAGES, SCHEMA, ask, calls, failure, server, servers
from tests.workers.chat_server import CANARY, Server
from tests.workers.provider_answers import anthropic_error, message
from workers.clients import CallsInFlight

__all__ = ["calls", "server", "servers"]  # fixtures

LONG = f"prompt is too long: 210000 tokens > 200000 maximum {CANARY}"
FULL = f"input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000 {CANARY}"


@pytest.fixture(autouse=True)
def _answering(server: Server) -> None:
    server.body = message()


def test_the_request_is_the_protocols(
    server: Server, calls: CallsInFlight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """System words apart, the schema as output format beside `parameters`, version and key as headers."""
    monkeypatch.setenv("OAK_KEY", KEY)
    ask(server, calls, "anthropic", key_env="OAK_KEY", seed=7)
    path, headers, body = server.requests[0]
    assert path == "/v1/messages"
    closed = {**SCHEMA, "additionalProperties": False}
    assert body == {
        "model": "oak-asked-for",
        "system": "be brief",
        "messages": [MESSAGES[1]],
        "temperature": 0.2,
        "max_tokens": 1200,
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": closed}},
    }
    assert (headers["anthropic-version"], headers["x-api-key"]) == ("2023-06-01", KEY)
    assert "authorization" not in headers


def test_what_the_protocol_requires_has_a_default(server: Server, calls: CallsInFlight) -> None:
    """Without parameters and structure the request has `max_tokens`, and no output format."""
    ask(server, calls, "anthropic", structured=False, parameters={}, messages=MESSAGES[1:])
    assert server.requests[0][2] == {
        "model": "oak-asked-for",
        "messages": [MESSAGES[1]],
        "max_tokens": 8192,
    }


def test_a_schema_has_only_what_the_provider_takes(server: Server, calls: CallsInFlight) -> None:
    """Bounds are left out and objects closed at any depth; a property that is called like one stays."""
    ask(server, calls, "anthropic", schema=FULL_SCHEMA)
    drug = {"type": "object", "properties": {"maxLength": {"type": "string"}}, "additionalProperties": False}
    assert server.requests[0][2]["output_config"]["format"]["schema"] == {
        "$defs": {"Drug": drug},
        "type": "object",
        "properties": {
            "drugs": {"type": "array", "items": {"$ref": "#/$defs/Drug"}},
            "grade": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
        "required": ["grade"],
        "additionalProperties": False,
    }


def test_an_empty_answer_can_be_asked_to_be_repaired(server: Server, calls: CallsInFlight) -> None:
    """A turn without words, which the provider refuses, is not sent."""
    again = [*MESSAGES, {"role": "assistant", "content": " \n"}, {"role": "user", "content": "once more"}]
    ask(server, calls, "anthropic", messages=again)
    assert server.requests[0][2]["messages"] == [MESSAGES[1], {"role": "user", "content": "once more"}]


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "é"}], "aé"),
        (
            [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "compaction", "text": CANARY},
                {"type": "text", "text": "b"},
                {"type": "server_tool_use", "id": "t", "name": "n", "input": {}},
            ],
            "b",
        ),
        ([{"type": "thinking", "thinking": CANARY, "signature": "s"}], ""),
        ([{"type": "text", "text": None}], ""),
        ([{"type": "text", "text": "lone \ud800"}], "lone ?"),
    ],
)
def test_only_text_is_read(
    server: Server, calls: CallsInFlight, blocks: list[dict[str, Any]], text: str
) -> None:
    """Thinking and other blocks are no answer; what the answer is then is somebody else's to say."""
    server.body = message(*blocks)
    assert ask(server, calls, "anthropic").raw_text == text


def test_no_blocks_are_an_empty_answer(server: Server, calls: CallsInFlight) -> None:
    """An end of the turn without any content is stored as it is."""
    server.body = {**message(), "content": []}
    reply = ask(server, calls, "anthropic")
    assert (reply.raw_text, reply.finish_reason, reply.completion_tokens) == ("", "end_turn", 45)


def test_tokens_of_the_cache_are_tokens_of_the_prompt(server: Server, calls: CallsInFlight) -> None:
    """They are counted apart and paid for; without the main count nothing is known."""
    assert ask(server, calls, "anthropic").prompt_tokens == 120
    server.body = message(usage={"input_tokens": 7, "output_tokens": 2, "cache_read_input_tokens": None})
    assert ask(server, calls, "anthropic").prompt_tokens == 7
    server.body = message(usage={"cache_read_input_tokens": 5})
    assert ask(server, calls, "anthropic").prompt_tokens is None


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        ("refusal", Refused),
        ("max_tokens", OverLength),
        ("model_context_window_exceeded", OverLength),
    ],
)
def test_a_useless_answer_carries_what_it_cost(
    server: Server, calls: CallsInFlight, stop: str, kind: type[ModelError]
) -> None:
    """Refused or cut short: the tokens were paid for and are booked."""
    server.body = message(stop=stop)
    error = failure(server, calls, kind, "anthropic")
    assert (error.status, error.prompt_tokens, error.completion_tokens) == (200, 120, 45)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, anthropic_error("invalid_request_error"), Rejected, "400 invalid_request_error"),
        (400, anthropic_error("invalid_request_error", LONG), OverLength, "400 invalid_request_error"),
        (400, anthropic_error("invalid_request_error", FULL), OverLength, "400 invalid_request_error"),
        (400, anthropic_error("invalid_request_error", "Your credit balance is too low"), Rejected, "400"),
        (401, anthropic_error("authentication_error"), Rejected, "401 authentication_error"),
        (402, anthropic_error("billing_error"), Rejected, "402 billing_error"),
        (403, anthropic_error("permission_error"), Rejected, "403 permission_error"),
        (404, anthropic_error("not_found_error"), Rejected, "404 not_found_error"),
        (413, anthropic_error("request_too_large"), OverLength, "413 request_too_large"),
        (413, b"<html>cloudflare</html>", OverLength, "413"),
        (429, anthropic_error("rate_limit_error"), RateLimited, "429 rate_limit_error"),
        (
            429,
            anthropic_error("rate_limit_error", error_code="enforced_spend_limit_reached"),
            Rejected,
            "429 enforced_spend_limit_reached",
        ),
        (
            429,
            anthropic_error("rate_limit_error", details={"error_code": "contract_spend_limit_reached"}),
            Rejected,
            "429 contract_spend_limit_reached",
        ),
        (500, anthropic_error("api_error"), Unavailable, "500 api_error"),
        (504, anthropic_error("timeout_error"), Unavailable, "504 timeout_error"),
        (529, anthropic_error("overloaded_error"), Unavailable, "529 overloaded_error"),
        (529, b"overloaded", Unavailable, "529"),
        (400, anthropic_error(CANARY), Rejected, "400"),
        (400, {"type": "error", "error": [CANARY]}, Rejected, "400"),
        (200, anthropic_error("overloaded_error"), Unavailable, "529 overloaded_error"),
        (200, anthropic_error("rate_limit_error"), RateLimited, "429 rate_limit_error"),
        (200, anthropic_error(CANARY), Unavailable, "502"),
        (200, {"type": "message", "content": None}, Unavailable, "200, but no message"),
    ],
)
def test_each_error_has_its_kind(
    server: Server, calls: CallsInFlight, status: int, body: Any, kind: type[ModelError], said: str
) -> None:
    """The published types and statuses become typed errors; a type that is not known is not repeated."""
    server.status, server.body, server.headers = status, body, {"retry-after": "17"}
    error = failure(server, calls, kind, "anthropic")
    assert str(error) == said or (said in ("400", "413") and str(error).startswith(said))
    if kind in (RateLimited,) or status == 529:
        assert error.retry_after_s == 17
