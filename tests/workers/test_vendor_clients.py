"""The vendors' own clients, where they are installed, read our servers' shapes as ours do.

So the shapes that the other tests send are not only our idea of them, and what our clients ask for is what
the vendor's asks for, too.
"""

from __future__ import annotations

import importlib
import json
import os
from types import ModuleType
from typing import Any

import pytest

from tests.workers.asking import BASES, FULL_SCHEMA, KEY, MESSAGES, ask, calls, server, servers
from tests.workers.chat_server import CANARY, Server, completion
from tests.workers.provider_answers import (
    anthropic_error,
    chat,
    delay,
    gemini_error,
    generated,
    message,
    quota,
    stream,
)
from workers.clients import CallsInFlight

__all__ = ["calls", "server", "servers"]  # fixtures

QUESTION = MESSAGES[1]["content"]


@pytest.fixture(autouse=True)
def _nobodys_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendors' clients read keys and addresses from it."""
    for name in os.environ:
        if name.startswith(("OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "OLLAMA_")):
            monkeypatch.delenv(name)


def client_of(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed: pip install -e .[dev]")


def sent(server: Server) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Our request and the vendor's: the same path; the vendor's headers and body are returned."""
    (path, _, _), (theirs, headers, body) = server.requests
    assert theirs == path
    return path, headers, body


def test_openai(server: Server, calls: CallsInFlight) -> None:
    """Chat completions: the same text, tokens and finish reason; an error with its code."""
    openai = client_of("openai")
    client = openai.OpenAI(api_key=KEY, base_url=server.root + BASES["openai"], max_retries=0)
    reply = ask(server, calls, "openai")
    seen = client.chat.completions.create(model="oak-asked-for", messages=MESSAGES)
    assert seen.choices[0].message.content == reply.raw_text
    assert seen.choices[0].finish_reason == reply.finish_reason
    assert (seen.usage.prompt_tokens, seen.usage.completion_tokens) == (
        reply.prompt_tokens,
        reply.completion_tokens,
    )
    assert (seen.model, seen.system_fingerprint) == (reply.returned_model, reply.fingerprint)
    assert sent(server)[1]["authorization"] == f"Bearer {KEY}"
    server.body = completion(None, message={"refusal": "no"})
    seen = client.chat.completions.create(model="oak", messages=MESSAGES)
    assert seen.choices[0].message.refusal == "no"
    server.status, server.body = 429, {"error": {"code": "insufficient_quota", "message": CANARY}}
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="oak", messages=MESSAGES)
    assert caught.value.code == "insufficient_quota"
    client.close()


def test_anthropic(server: Server, calls: CallsInFlight) -> None:
    """Messages: the same text, tokens, stop reason, headers and schema; errors with their types."""
    anthropic = client_of("anthropic")
    transform = importlib.import_module("anthropic.lib._parse._transform").transform_schema
    client = anthropic.Anthropic(api_key=KEY, base_url=server.root, max_retries=0)
    server.body = message(
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"}
    )
    reply = ask(server, calls, "anthropic", schema=FULL_SCHEMA)
    theirs = {"format": {"type": "json_schema", "schema": transform(FULL_SCHEMA)}}
    question = {"model": "oak-asked-for", "max_tokens": 1200, "messages": MESSAGES[1:], "system": "be brief"}
    seen = client.messages.create(**question, output_config=theirs)
    assert "".join(block.text for block in seen.content if block.type == "text") == reply.raw_text == "a"
    assert (seen.stop_reason, seen.model) == (reply.finish_reason, reply.returned_model)
    assert seen.usage.output_tokens == reply.completion_tokens
    cached = seen.usage.cache_creation_input_tokens + seen.usage.cache_read_input_tokens
    assert seen.usage.input_tokens + cached == reply.prompt_tokens
    _, headers, body = sent(server)
    assert "anthropic-version" in headers
    assert KEY in (headers.get("x-api-key"), headers.get("authorization", "").removeprefix("Bearer "))
    ours = server.requests[0][2]
    assert {key: body[key] for key in question} == {key: ours[key] for key in question}
    assert undescribed(body["output_config"]["format"]) == ours["output_config"]["format"]
    for status, kind, error in (
        (401, "authentication_error", anthropic.AuthenticationError),
        (413, "request_too_large", anthropic.APIStatusError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (529, "overloaded_error", anthropic.APIStatusError),
    ):
        server.status, server.body = status, anthropic_error(kind)
        with pytest.raises(error) as caught:
            client.messages.create(**question)
        assert (caught.value.status_code, caught.value.type) == (status, kind)
    client.close()


def undescribed(schema: Any) -> Any:
    """Without the descriptions into which the vendor's client writes the bounds that it takes out."""
    if not isinstance(schema, dict):
        return [undescribed(part) for part in schema] if isinstance(schema, list) else schema
    return {key: undescribed(part) for key, part in schema.items() if key != "description"}


def test_gemini(server: Server, calls: CallsInFlight) -> None:
    """generateContent: the same path, header, schema and seed, text, tokens and version; an error's code."""
    genai = client_of("google.genai")
    client = genai.Client(api_key=KEY, http_options={"base_url": server.root, "api_version": "v1beta"})
    server.body = generated({"text": "hm", "thought": True}, {"text": "a"})
    reply = ask(server, calls, "gemini", seed=7)
    config = {
        "system_instruction": "be brief",
        "temperature": 0.2,
        "max_output_tokens": 1200,
        "seed": 7,
        "response_mime_type": "application/json",
        "response_json_schema": {"type": "object", "properties": {"grade": {"type": "number"}}},
    }
    asked = {"model": "oak-asked-for", "contents": QUESTION, "config": config}
    seen = client.models.generate_content(**asked)
    assert seen.text == reply.raw_text == "a"
    assert (seen.model_version, seen.candidates[0].finish_reason.value) == (
        reply.returned_model,
        reply.finish_reason,
    )
    usage = seen.usage_metadata
    assert usage.prompt_token_count == reply.prompt_tokens
    assert usage.candidates_token_count + usage.thoughts_token_count == reply.completion_tokens
    _, headers, body = sent(server)
    assert headers["x-goog-api-key"] == KEY
    ours = server.requests[0][2]
    assert body["generationConfig"] == ours["generationConfig"]
    assert body["contents"] == ours["contents"]
    assert body["systemInstruction"]["parts"] == ours["systemInstruction"]["parts"]
    server.body = {"promptFeedback": {"blockReason": "SAFETY"}}
    assert client.models.generate_content(**asked).prompt_feedback.block_reason.value == "SAFETY"
    server.status = 429
    server.body = gemini_error(429, "RESOURCE_EXHAUSTED", CANARY, quota("PerDay"), delay("26s"))
    with pytest.raises(genai.errors.ClientError) as caught:
        client.models.generate_content(**asked)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    client.close()


def test_ollama(server: Server, calls: CallsInFlight) -> None:
    """/api/chat: the same path and body, text and counts; a stream; an error with its status."""
    ollama = client_of("ollama")
    with ollama.Client(host=server.root, trust_env=False) as client:
        server.body = chat("a")
        reply = ask(server, calls, "ollama")
        ours = server.requests[0][2]
        asked = {"model": "oak-asked-for", "messages": MESSAGES, "format": ours["format"], "think": False}
        seen = client.chat(**asked, options=ours["options"])
        assert (seen.message.content, seen.model) == (reply.raw_text, reply.returned_model)
        assert (seen.prompt_eval_count, seen.eval_count, seen.done_reason) == (
            reply.prompt_tokens,
            reply.completion_tokens,
            reply.finish_reason,
        )
        assert {**sent(server)[2], "truncate": False, "shift": False} == {**ours, "tools": []}
        server.headers, server.body = {"Content-Type": "application/x-ndjson"}, stream("{", "}")
        pieces = list(client.chat(**asked, stream=True))
        assert "".join(piece.message.content for piece in pieces) == ask(server, calls, "ollama").raw_text
        server.status, server.headers, server.body = 404, {}, json.dumps({"error": "not found"}).encode()
        with pytest.raises(ollama.ResponseError) as caught:
            client.chat(**asked)
        assert (caught.value.status_code, caught.value.error) == (404, "not found")
