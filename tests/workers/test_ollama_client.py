"""The client of Ollama's own API against a real HTTP server with the published shapes."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import ModelError, OverLength, RateLimited, Rejected, Unavailable
from tests.workers.asking import FULL_SCHEMA, KEY, MESSAGES, SCHEMA, ask, calls, failure, server, servers
from tests.workers.chat_server import CANARY, Server
from tests.workers.provider_answers import chat, stream
from workers.clients import CallsInFlight

__all__ = ["calls", "server", "servers"]  # fixtures

NDJSON = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}


@pytest.fixture(autouse=True)
def _answering(server: Server) -> None:
    server.body = chat()


def test_the_request_is_the_protocols(
    server: Server, calls: CallsInFlight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not streamed, nothing cut, the schema as format, the seed among the options; a key for a gateway."""
    ask(server, calls, "ollama", seed=7)
    path, headers, body = server.requests[0]
    assert path == "/api/chat"
    assert body == {
        "model": "oak-asked-for",
        "messages": MESSAGES,
        "stream": False,
        "truncate": False,
        "shift": False,
        "think": False,
        "format": SCHEMA,
        "options": {"temperature": 0.2, "num_ctx": 16384, "seed": 7},
    }
    assert "authorization" not in headers
    monkeypatch.setenv("OAK_KEY", KEY)
    ask(server, calls, "ollama", key_env="OAK_KEY", structured=False, parameters={"truncate": True})
    _, headers, body = server.requests[1]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "format" not in body
    assert "options" not in body
    assert body["truncate"] is True


def test_a_schema_has_no_lengths(server: Server, calls: CallsInFlight) -> None:
    """The runner makes a grammar of the schema, and refuses one with long bounds."""
    ask(server, calls, "ollama", schema=FULL_SCHEMA)
    schema = server.requests[0][2]["format"]
    assert schema["$defs"]["Drug"]["properties"] == {"maxLength": {"type": "string"}}
    assert "maxItems" not in schema["properties"]["drugs"]


@pytest.mark.parametrize(("content", "text"), [("", ""), (None, ""), ("lone \ud800", "lone ?"), (3, "")])
def test_thinking_is_not_read(server: Server, calls: CallsInFlight, content: Any, text: str) -> None:
    """The answer is the content alone, whatever it is."""
    server.body = chat(content)
    assert ask(server, calls, "ollama").raw_text == text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (chat(reason="length"), OverLength),
        (chat(done=False), Unavailable),
        (chat("", reason="load"), Unavailable),
        (chat("", reason="unload"), Unavailable),
        ({**chat(), "message": None}, Unavailable),
    ],
)
def test_a_useless_answer_carries_what_it_cost(
    server: Server, calls: CallsInFlight, body: Any, kind: type[ModelError]
) -> None:
    """Cut short, not done, or only loaded: what was counted is booked."""
    server.body = body
    error = failure(server, calls, kind, "ollama")
    assert (error.status, error.prompt_tokens, error.completion_tokens) == (200, 120, 45)


def test_counts_that_are_not_told_are_not_known(server: Server, calls: CallsInFlight) -> None:
    """A prompt that came out of the cache has no count: not known, and not 0."""
    server.body = {k: v for k, v in chat().items() if k not in ("prompt_eval_count", "eval_count")}
    reply = ask(server, calls, "ollama")
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "registry.ollama.ai/library/oak does not support thinking", Rejected),
        (400, "the input length exceeds the context length", OverLength),
        (400, "the request exceeds the available context size. try increasing the context size", OverLength),
        (500, "exceed_context_size_error", OverLength),
        (401, "unauthorized", Rejected),
        (403, "cloud models are off", Rejected),
        (404, "model 'oak-asked-for' not found", Rejected),
        (429, "rate limit exceeded", RateLimited),
        (500, "model requires more system memory (5.3 GiB) than is available (3.3 GiB)", Unavailable),
        (500, "llama runner process has terminated: exit status 2", Unavailable),
        (502, "cloud model cannot be reached", Unavailable),
        (503, "server busy, please try again.  maximum pending requests exceeded", Unavailable),
        (200, "an error was encountered while running the model", Unavailable),
        (200, "the input length exceeds the context length", OverLength),
    ],
)
def test_each_error_has_its_kind(
    server: Server, calls: CallsInFlight, status: int, said: str, kind: type[ModelError]
) -> None:
    """Its sentences become typed errors by status and by what does not fit; they are not repeated."""
    server.status, server.body, server.headers = status, {"error": f"{said} {CANARY}"}, {"Retry-After": "3"}
    error = failure(server, calls, kind, "ollama")
    assert str(error) == str(502 if status == 200 else status)
    assert error.retry_after_s == 3


def test_a_stream_that_came_all_the_same_is_joined(server: Server, calls: CallsInFlight) -> None:
    """Pieces in NDJSON, in chunks, are the one answer that was asked for, with its counts."""
    server.headers, server.body = NDJSON, stream("{", '"é"', "}")
    reply = ask(server, calls, "ollama")
    assert (reply.raw_text, reply.prompt_tokens, reply.completion_tokens) == ('{"é"}', 120, 45)
    assert (reply.returned, reply.finish_reason) == ("oak-2026-10-01", "stop")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (stream("a").rsplit(b"\n", 2)[0] + b"\n", Unavailable),  # the last line is missing
        (stream("a", done=False), Unavailable),
        (stream("a", done_reason="length"), OverLength),
        (stream("a") + b'{"error": "the runner died"}\n', Unavailable),
        (stream("a") + b"{", Unavailable),
        (b"[" * 200_000, Unavailable),
        (b"[]\n7\n", Unavailable),
        (b"", Unavailable),
    ],
)
def test_a_stream_that_does_not_end_well_is_no_answer(
    server: Server, calls: CallsInFlight, body: bytes, kind: type[ModelError]
) -> None:
    """Cut off, broken, or ended by an error in its midst."""
    server.headers, server.body = NDJSON, body
    failure(server, calls, kind, "ollama")


def test_one_object_in_chunks_is_read(server: Server, calls: CallsInFlight) -> None:
    """How a body comes over the wire does not matter."""
    server.headers = {"Content-Type": "application/json; charset=utf-8", "Transfer-Encoding": "chunked"}
    assert ask(server, calls, "ollama").raw_text == CANARY
