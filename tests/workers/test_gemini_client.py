"""The client of Gemini's generateContent against a real HTTP server with the published shapes."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import ModelError, OverLength, RateLimited, Refused, Rejected, Unavailable
from tests.workers.asking import FULL_SCHEMA, KEY, MESSAGES, SCHEMA, ask, calls, failure, server, servers
from tests.workers.chat_server import CANARY, Server
from tests.workers.provider_answers import delay, gemini_error, generated, quota
from workers.clients import CallsInFlight

__all__ = ["calls", "server", "servers"]  # fixtures

LONG = f"The input token count (1200293) exceeds the maximum number of tokens allowed (1048576). {CANARY}"
BY_MINUTE = quota("GenerateContentInputTokensPerModelPerMinute-FreeTier")
BY_DAY = quota("GenerateRequestsPerMinute", "GenerateRequestsPerDayPerProjectPerModel-FreeTier")


@pytest.fixture(autouse=True)
def _answering(server: Server) -> None:
    server.body = generated()


def test_the_request_is_the_protocols(
    server: Server, calls: CallsInFlight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model in the path, the key in a header and not there; schema and seed beside `parameters`."""
    monkeypatch.setenv("OAK_KEY", KEY)
    turns = [*MESSAGES, {"role": "assistant", "content": "hm"}, {"role": "user", "content": "again"}]
    ask(server, calls, "gemini", key_env="OAK_KEY", seed=7, messages=turns)
    path, headers, body = server.requests[0]
    assert path == "/v1beta/models/oak-asked-for:generateContent"
    assert body == {
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [
            {"role": "user", "parts": [{"text": MESSAGES[1]["content"]}]},
            {"role": "model", "parts": [{"text": "hm"}]},
            {"role": "user", "parts": [{"text": "again"}]},
        ],
        "generationConfig": {
            "temperature": 0.2,
            "maxOutputTokens": 1200,
            "responseMimeType": "application/json",
            "responseJsonSchema": SCHEMA,
            "seed": 7,
        },
    }
    assert headers["x-goog-api-key"] == KEY


def test_structure_is_not_asked_where_it_is_off(server: Server, calls: CallsInFlight) -> None:
    """`structured = false` leaves type and schema out."""
    ask(server, calls, "gemini", structured=False, parameters={})
    assert server.requests[0][2]["generationConfig"] == {}


def test_a_schema_has_no_lengths(server: Server, calls: CallsInFlight) -> None:
    """They make constraints of too many states; the range of a number stays."""
    ask(server, calls, "gemini", schema=FULL_SCHEMA)
    schema = server.requests[0][2]["generationConfig"]["responseJsonSchema"]
    assert schema["properties"]["drugs"] == {"type": "array", "items": {"$ref": "#/$defs/Drug"}}
    assert schema["properties"]["grade"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 1}


def test_a_name_cannot_leave_its_place_in_the_path(server: Server, calls: CallsInFlight) -> None:
    """What means something in an address is escaped."""
    ask(server, calls, "gemini", model="oak:x@1")
    assert server.requests[0][0] == "/v1beta/models/oak%3Ax%401:generateContent"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"text": "a"}, {"text": "é"}], "aé"),
        ([{"text": f"hm {CANARY}", "thought": True}, {"text": "b", "thoughtSignature": "s"}], "b"),
        ([{"text": CANARY, "thought": True}], ""),
        ([{"functionCall": {"name": "f"}}], ""),
        ([{"text": "lone \ud800"}], "lone ?"),
    ],
)
def test_only_text_that_is_no_thought_is_read(
    server: Server, calls: CallsInFlight, parts: list[dict[str, Any]], text: str
) -> None:
    """Thoughts and calls are no answer."""
    server.body = generated(*parts)
    assert ask(server, calls, "gemini").raw_text == text


@pytest.mark.parametrize("content", [None, {}, {"role": "model"}, {"parts": None}])
def test_a_candidate_without_parts_is_an_empty_answer(
    server: Server, calls: CallsInFlight, content: Any
) -> None:
    """It ended for no reason that has an error: stored as it is."""
    server.body = generated(candidates=[{"content": content, "finishReason": "OTHER"}])
    reply = ask(server, calls, "gemini")
    assert (reply.raw_text, reply.finish_reason) == ("", "OTHER")


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}, (9, 4)),
        ({"promptTokenCount": 9, "thoughtsTokenCount": 4, "totalTokenCount": 13}, (9, 4)),
        ({"promptTokenCount": 9, "totalTokenCount": 9}, (9, 0)),
        ({"promptTokenCount": 9}, (9, None)),
        ({"totalTokenCount": 9}, (None, None)),
        ({"promptTokenCount": "9", "candidatesTokenCount": -1}, (None, None)),
        (None, (None, None)),
    ],
)
def test_thoughts_are_paid_for(
    server: Server, calls: CallsInFlight, usage: Any, tokens: tuple[int | None, int | None]
) -> None:
    """They count as tokens of the answer; a count that is left out is 0 only if the total says so."""
    server.body = generated(usageMetadata=usage)
    reply = ask(server, calls, "gemini")
    assert (reply.prompt_tokens, reply.completion_tokens) == tokens


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (generated(finish="MAX_TOKENS"), OverLength),
        (generated(finish="SAFETY"), Refused),
        (generated(finish="PROHIBITED_CONTENT"), Refused),
        (generated(finish="RECITATION"), Refused),
        (generated(finish="BLOCKLIST"), Refused),
        (generated(finish="SPII"), Refused),
        (generated(finish="LANGUAGE"), Refused),
        ({**generated(), "candidates": [], "promptFeedback": {"blockReason": "SAFETY"}}, Refused),
        ({**generated(), "candidates": []}, Unavailable),
        ({**generated(), "candidates": None}, Unavailable),
    ],
)
def test_a_useless_answer_carries_what_it_cost(
    server: Server, calls: CallsInFlight, body: Any, kind: type[ModelError]
) -> None:
    """Refused, cut short or none: the tokens were paid for and are booked."""
    server.body = body
    error = failure(server, calls, kind, "gemini")
    assert (error.status, error.prompt_tokens, error.completion_tokens) == (200, 120, 45)


def test_a_blocked_prompt_has_no_answer_to_pay(server: Server, calls: CallsInFlight) -> None:
    """The published shape of a block: no candidates at all, and the prompt's tokens only."""
    server.body = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 120, "totalTokenCount": 120},
        "modelVersion": "oak",
    }
    error = failure(server, calls, Refused, "gemini")
    assert (error.prompt_tokens, error.completion_tokens) == (120, 0)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, gemini_error(400, "INVALID_ARGUMENT"), Rejected, "400 INVALID_ARGUMENT"),
        (400, gemini_error(400, "INVALID_ARGUMENT", LONG), OverLength, "400 INVALID_ARGUMENT"),
        (400, [gemini_error(400, "INVALID_ARGUMENT", LONG)], OverLength, "400 INVALID_ARGUMENT"),
        (400, gemini_error(400, "FAILED_PRECONDITION"), Rejected, "400 FAILED_PRECONDITION"),
        (401, gemini_error(401, "UNAUTHENTICATED"), Rejected, "401 UNAUTHENTICATED"),
        (403, gemini_error(403, "PERMISSION_DENIED"), Rejected, "403 PERMISSION_DENIED"),
        (404, gemini_error(404, "NOT_FOUND"), Rejected, "404 NOT_FOUND"),
        (409, gemini_error(409, "ABORTED"), Unavailable, "409 ABORTED"),
        (429, gemini_error(429, "RESOURCE_EXHAUSTED"), RateLimited, "429 RESOURCE_EXHAUSTED"),
        (499, gemini_error(499, "CANCELLED"), Unavailable, "499 CANCELLED"),
        (500, gemini_error(500, "INTERNAL"), Unavailable, "500 INTERNAL"),
        (503, gemini_error(503, "UNAVAILABLE"), Unavailable, "503 UNAVAILABLE"),
        (504, gemini_error(504, "DEADLINE_EXCEEDED"), Unavailable, "504 DEADLINE_EXCEEDED"),
        (400, gemini_error(400, CANARY), Rejected, "400"),
        (400, {"error": CANARY}, Rejected, "400"),
        (200, gemini_error(503, "UNAVAILABLE"), Unavailable, "503 UNAVAILABLE"),
        (200, gemini_error(429, "RESOURCE_EXHAUSTED"), RateLimited, "429 RESOURCE_EXHAUSTED"),
        (200, gemini_error(1, CANARY), Unavailable, "502"),
    ],
)
def test_each_error_has_its_kind(
    server: Server, calls: CallsInFlight, status: int, body: Any, kind: type[ModelError], said: str
) -> None:
    """The codes of google.rpc become typed errors; a code that is not known is not repeated."""
    server.status, server.body = status, body
    assert str(failure(server, calls, kind, "gemini")) == said


@pytest.mark.parametrize(
    ("details", "headers", "wait_s", "kind"),
    [
        ([BY_MINUTE, delay("26s")], {}, 26, RateLimited),
        ([delay("1.5s")], {"Retry-After": "9"}, 1.5, RateLimited),
        ([delay("0s")], {}, 0, RateLimited),
        ([delay("999999s")], {}, 86_400, RateLimited),
        ([delay("soon")], {"Retry-After": "9"}, 9, RateLimited),
        ([delay(None), delay({"seconds": 3})], {}, None, RateLimited),
        ([{"@type": "type.googleapis.com/google.rpc.Help", "retryDelay": "3s"}], {}, None, RateLimited),
        ([BY_DAY, delay("26s")], {}, 26, Rejected),
        ([BY_DAY], {}, None, Rejected),
        (
            [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [7]}],
            {},
            None,
            RateLimited,
        ),
    ],
)
def test_a_quota_names_its_wait_in_the_body(
    server: Server,
    calls: CallsInFlight,
    details: list[dict[str, Any]],
    headers: dict[str, str],
    wait_s: float | None,
    kind: type[ModelError],
) -> None:
    """RetryInfo is the wait; a quota by the day that is used up is no matter of waiting."""
    server.status, server.headers = 429, headers
    server.body = gemini_error(429, "RESOURCE_EXHAUSTED", CANARY, *details)
    assert failure(server, calls, kind, "gemini").retry_after_s == wait_s
