"""What the tests of all clients share: a model of each protocol on a server, one call to it, its error."""

from __future__ import annotations

import ssl
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.errors import ModelError
from shared.registry import Model
from tests.workers.chat_server import CANARY, Server, chat_servers
from workers.clients import CallsInFlight, Reply, client_for

KEY = "sk-secret-4242"
MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": f"{CANARY} naïve"}]
SCHEMA = {"type": "object", "properties": {"grade": {"type": "number"}}}
FULL_SCHEMA = {
    "$defs": {"Drug": {"type": "object", "properties": {"maxLength": {"type": "string", "maxLength": 8000}}}},
    "type": "object",
    "properties": {
        "drugs": {"type": "array", "items": {"$ref": "#/$defs/Drug"}, "maxItems": 40},
        "grade": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]},
    },
    "required": ["grade"],
}
"""With bounds that some providers refuse, and a property that is called like one."""

BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "ollama": ""}
PARAMETERS: dict[str, dict[str, Any]] = {
    "openai": {"temperature": 0.2, "max_tokens": 1200},
    "anthropic": {"temperature": 0.2, "max_tokens": 1200, "output_config": {"effort": "low"}},
    "gemini": {"generationConfig": {"temperature": 0.2, "maxOutputTokens": 1200}},
    "ollama": {"think": False, "options": {"temperature": 0.2, "num_ctx": 16384}},
}


@pytest.fixture
def servers() -> Iterator[Callable[[], Server]]:
    with chat_servers() as start:
        yield start


@pytest.fixture
def server(servers: Callable[[], Server]) -> Server:
    return servers()


@pytest.fixture
def calls() -> Iterator[CallsInFlight]:
    calls = CallsInFlight(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # to read all authorities takes long
    yield calls
    calls.close_all()


def model_of(server: Server, protocol: str = "openai", **changes: Any) -> Model:
    base = {
        "name": "oak",
        "provider": "acme",
        "protocol": protocol,
        "location": "remote",
        "family": "oak",
        "base_url": server.root + BASES[protocol],
        "model": "oak-asked-for",
        "parameters": PARAMETERS[protocol],
    }
    return Model.model_validate({**base, **changes})


def ask(
    server: Server,
    calls: CallsInFlight,
    protocol: str = "openai",
    *,
    schema: dict[str, Any] = SCHEMA,
    messages: list[dict[str, str]] = MESSAGES,
    seed: int | None = None,
    **changes: Any,
) -> Reply:
    model = model_of(server, protocol, **changes)
    return client_for(model).ask(
        model, messages, schema_name="review", schema=schema, request_id="owed-1:2", seed=seed, calls=calls
    )


def failure(
    server: Server, calls: CallsInFlight, kind: type[ModelError], protocol: str = "openai", **changes: Any
) -> ModelError:
    """The error of a call; whatever it is, it names neither text nor key, after one request at most."""
    before = len(server.requests)
    with pytest.raises(ModelError) as caught:
        ask(server, calls, protocol, **changes)
    error = caught.value
    assert type(error) is kind
    told = repr(error) + "".join(traceback.format_exception(error))
    assert CANARY not in told
    assert KEY not in told
    assert len(server.requests) - before <= 1
    return error
