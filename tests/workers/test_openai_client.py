"""The OpenAI-compatible client against a real HTTP server: the request, the reply, every shape of error."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.errors import GivenUp, ModelError, OverLength, RateLimited, Refused, Rejected, Unavailable
from shared.registry import price
from tests.workers.asking import KEY, MESSAGES, SCHEMA, ask, calls, failure, model_of, server, servers
from tests.workers.chat_server import CANARY, Server, completion
from workers.clients import CallsInFlight, exchange

__all__ = ["calls", "server", "servers"]  # fixtures

CHOICE = completion()["choices"][0]


def test_the_request_is_the_protocols(server: Server, calls: CallsInFlight) -> None:
    """Path, body and headers are those of a chat completion with a JSON schema, and no more."""
    ask(server, calls)
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "oak-asked-for",
        "messages": MESSAGES,
        "temperature": 0.2,
        "max_tokens": 1200,
        "response_format": {"type": "json_schema", "json_schema": {"name": "review", "schema": SCHEMA}},
    }
    assert headers["x-request-id"] == "owed-1:2"
    assert "authorization" not in headers
    assert "cookie" not in headers


def test_structure_is_not_asked_where_it_is_off(server: Server, calls: CallsInFlight) -> None:
    """`structured = false` leaves response_format out."""
    ask(server, calls, structured=False)
    assert "response_format" not in server.requests[0][2]


def test_the_reply_is_raw(server: Server, calls: CallsInFlight) -> None:
    """Text as it came, usage, the version that answered; the text is not in the repr."""
    server.body = completion(f"```json\n{CANARY}é\n```")
    reply = ask(server, calls)
    assert reply.raw_text == f"```json\n{CANARY}é\n```"
    assert (reply.returned_model, reply.fingerprint, reply.returned) == (
        "oak-2026-10-01",
        "fp_1",
        "oak-2026-10-01 fp_1",
    )
    assert (reply.prompt_tokens, reply.completion_tokens, reply.finish_reason) == (120, 45, "stop")
    assert reply.duration_s > 0
    assert CANARY not in repr(reply)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", ""),
        (None, ""),
        ([{"type": "text", "text": "a"}, {"type": "thinking"}, {"type": "text", "text": "b"}], "ab"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        (3, ""),
    ],
)
def test_odd_contents_are_texts(server: Server, calls: CallsInFlight, content: Any, text: str) -> None:
    """What stands in a readable reply is stored whatever it is: reading it is somebody else's."""
    server.body = completion(content)
    assert ask(server, calls).raw_text == text


@pytest.mark.parametrize(
    "usage", [None, {}, [], {"prompt_tokens": "5", "completion_tokens": -1}, {"prompt_tokens": True}]
)
def test_usage_that_is_not_told_is_not_known(server: Server, calls: CallsInFlight, usage: Any) -> None:
    """Unknown is not zero."""
    server.body = completion(usage=usage, model=7, system_fingerprint=None)
    reply = ask(server, calls)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.returned) == (None, None, None)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, {"error": {"code": "rate_limit_exceeded", "message": CANARY}}, RateLimited),
        (429, {"error": {"code": "insufficient_quota", "message": CANARY}}, Rejected),
        (429, b"slow down " + CANARY.encode(), RateLimited),
        (400, {"error": {"code": "context_length_exceeded", "message": CANARY}}, OverLength),
        (400, {"error": {"type": "exceed_context_size_error", "code": 400, "message": CANARY}}, OverLength),
        (
            400,
            {"object": "error", "message": "This model's maximum context length is 9", "code": 400},
            OverLength,
        ),
        (400, {"error": {"code": "content_filter", "message": CANARY}}, Refused),
        (400, {"error": {"code": CANARY, "type": CANARY, "message": CANARY}}, Rejected),
        (400, {"error": CANARY}, Rejected),
        (400, b"", Rejected),
        (401, {"error": {"code": "invalid_api_key", "message": f"Incorrect key {KEY}"}}, Rejected),
        (403, {}, Rejected),
        (404, {"error": {"code": "model_not_found"}}, Rejected),
        (413, b"<html>", Rejected),
        (422, {"detail": [{"msg": CANARY}]}, Rejected),
        (408, b"", Unavailable),
        (425, b"", Unavailable),
        (500, {"error": {"code": "insufficient_quota"}}, Unavailable),
        (502, b"<html>bad gateway</html>", Unavailable),
        (503, {"error": {"message": CANARY}}, Unavailable),
        (529, {}, Unavailable),
        (201, completion(), Unavailable),
        (304, b"", Rejected),
    ],
)
def test_each_status_has_its_error(
    server: Server, calls: CallsInFlight, status: int, body: Any, kind: type[ModelError]
) -> None:
    """Statuses and error codes become typed errors that carry the status and no word of the server's."""
    server.status, server.body = status, b"" if status == 304 else body
    assert failure(server, calls, kind).status == status


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 -0000", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:28:30 GMT"}, 0),
        ({"Retry-After": "Wed, 21 Oct 1992 07:28:00 GMT"}, 0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, exchange.MAX_RETRY_AFTER_S),
        ({"Retry-After": "999999999"}, exchange.MAX_RETRY_AFTER_S),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, Unavailable)])
def test_retry_after_in_both_forms(
    server: Server,
    calls: CallsInFlight,
    status: int,
    kind: type[ModelError],
    headers: dict[str, str],
    wait_s: float | None,
) -> None:
    """Seconds, or a date against the server's own clock; what is neither is not known."""
    server.status, server.headers, server.body = status, headers, {}
    assert failure(server, calls, kind).retry_after_s == wait_s


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (completion(None, message={"refusal": f"I cannot {CANARY}"}), Refused),
        (completion("", finish="content_filter"), Refused),
        (completion(CANARY, finish="length"), OverLength),
        ({**completion(), "choices": []}, Unavailable),
        ({**completion(), "choices": [None]}, Unavailable),
    ],
)
def test_a_useless_answer_carries_what_it_cost(
    server: Server, calls: CallsInFlight, body: Any, kind: type[ModelError]
) -> None:
    """Refused, cut short or empty: the tokens were paid for and are booked."""
    server.body = body
    error = failure(server, calls, kind)
    assert (error.status, error.prompt_tokens, error.completion_tokens) == (200, 120, 45)
    priced = model_of(server, usd_per_mtok_in=1, usd_per_mtok_out=2)
    assert price(priced, error.prompt_tokens, error.completion_tokens) == Decimal("0.00021")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html>login</html>", {"Content-Type": "text/html"}),
        (json.dumps(completion()).encode(), {"Content-Type": "text/plain"}),
        (b"{" + CANARY.encode(), {}),
        (b"[" * 200_000, {}),
        (b"[]", {}),
        (b"\xff\xfe", {}),
        (b"", {}),
        (b" " * 5_000_000, {}),
    ],
)
def test_a_200_that_is_no_envelope_is_unavailable(
    server: Server, calls: CallsInFlight, body: bytes, headers: dict[str, str]
) -> None:
    """Another content type, broken JSON, 5 MB: none of it is an answer, and what it cost is not known."""
    server.body, server.headers = body, headers
    error = failure(server, calls, Unavailable)
    assert (error.status, error.prompt_tokens) == (200, None)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429, "message": CANARY}, RateLimited),
        ({"code": 503}, Unavailable),
        ({"message": CANARY}, Unavailable),
        ({"code": 400, "type": "context_length_exceeded"}, OverLength),
    ],
)
def test_a_gateways_error_within_a_200(
    server: Server, calls: CallsInFlight, error: Any, kind: type[ModelError]
) -> None:
    """A gateway's 200 that holds the error of what is behind it is that error."""
    server.body = {"error": error}
    failure(server, calls, kind)


@pytest.mark.parametrize(
    ("broken", "kind", "status"),
    [
        ({"error": {"code": 429, "message": CANARY}}, RateLimited, 429),
        ({"choices": [{**CHOICE, "error": {"code": 502}}]}, Unavailable, 502),
        ({"choices": [{**CHOICE, "finish_reason": "error"}]}, Unavailable, 200),
        ({"choices": [{**CHOICE, "finish_reason": "insufficient_system_resource"}]}, Unavailable, 200),
    ],
)
def test_half_an_answer_beside_an_error_is_none(
    server: Server, calls: CallsInFlight, broken: Any, kind: type[ModelError], status: int
) -> None:
    """What failed behind a gateway while it answered is that failure, with what it cost."""
    server.body = {**completion(), **broken}
    error = failure(server, calls, kind)
    assert (error.status, error.prompt_tokens, error.completion_tokens) == (status, 120, 45)


@pytest.mark.parametrize(
    ("usage", "completion_tokens"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 530}, 520),
        ({"prompt_tokens": 10, "total_tokens": 40}, 30),
        ({"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 15}, 20),
        ({"completion_tokens": 20, "total_tokens": 530}, 20),
    ],
)
def test_thoughts_that_stand_in_the_total_alone_are_counted(
    server: Server, calls: CallsInFlight, usage: Any, completion_tokens: int
) -> None:
    """Whoever leaves them out of `completion_tokens` bills them all the same."""
    server.body = completion(usage=usage)
    assert ask(server, calls).completion_tokens == completion_tokens


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    servers: Callable[[], Server], calls: CallsInFlight, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither text nor key reach the host that a redirect names."""
    monkeypatch.setenv("OAK_KEY", KEY)
    first, other = servers(), servers()
    first.status, first.body, first.headers = status, b"", {"Location": f"{other.url}/chat/completions"}
    error = failure(first, calls, Rejected, key_env="OAK_KEY")
    assert "redirect" in str(error)
    assert first.requests[0][1]["authorization"] == f"Bearer {KEY}"
    assert other.requests == []


def test_no_server_and_a_late_one(server: Server, calls: CallsInFlight) -> None:
    """Nobody at the address: free. A server that is too slow: not known what it cost."""
    server.hold = threading.Event()
    late = failure(server, calls, Unavailable, deadline_s=0.3, connect_s=0.3)
    server.hold.set()
    assert late.prompt_tokens is None
    nobody = failure(server, calls, Unavailable, base_url="http://127.0.0.1:1/v1")
    assert (nobody.prompt_tokens, nobody.completion_tokens) == (0, 0)


def test_calls_are_given_up_at_shutdown(server: Server, calls: CallsInFlight) -> None:
    """Open calls end with `GivenUp`, and so do later ones, without a request."""
    server.hold = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask, server, calls)
        while not server.requests:
            assert not future.done()
        assert calls.close_all() == 1
        assert isinstance(future.exception(20), GivenUp)
    server.hold.set()
    failure(server, calls, GivenUp)
    assert len(server.requests) == 1


def test_a_key_comes_from_variable_or_file_at_each_call(
    server: Server, calls: CallsInFlight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed file is used at the next call; the key stands in one header and nowhere in the model."""
    monkeypatch.setenv("OAK_KEY", KEY)
    file = tmp_path / "key"
    file.write_text(f"{KEY}-1\n")
    ask(server, calls, key_env="OAK_KEY")
    ask(server, calls, key_file=file)
    file.write_text(f"{KEY}-2\n")
    ask(server, calls, key_file=file)
    sent = [headers.pop("authorization") for _, headers, _ in server.requests]
    assert sent == [f"Bearer {KEY}", f"Bearer {KEY}-1", f"Bearer {KEY}-2"]
    assert KEY not in str(server.requests)
    assert KEY not in repr(model_of(server, key_env="OAK_KEY"))


@pytest.mark.parametrize("content", [None, "", " \n", "two words", "line\nbreak", f"{KEY}\x00", f"é{KEY}"])
def test_an_unusable_key_is_said_before_anything_is_sent(
    server: Server, calls: CallsInFlight, tmp_path: Path, content: str | None
) -> None:
    """The file is named, its content is not; no request is made and nothing was paid."""
    file = tmp_path / "key-of-oak"
    if content is not None:
        file.write_text(content)
    error = failure(server, calls, Rejected, key_file=file)
    assert "key-of-oak" in str(error)
    assert (error.prompt_tokens, error.status) == (0, None)
    assert server.requests == []


def test_a_variable_that_is_not_set_is_said(server: Server, calls: CallsInFlight) -> None:
    """The variable is named."""
    error = failure(server, calls, Rejected, key_env="OAK_KEY_THAT_IS_NOT_SET")
    assert "OAK_KEY_THAT_IS_NOT_SET" in str(error)


def test_nothing_of_a_call_is_logged(
    server: Server, calls: CallsInFlight, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all loggers at DEBUG, neither text nor key nor address appears."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OAK_KEY", KEY)
    ask(server, calls, key_env="OAK_KEY")
    assert caplog.text == ""
