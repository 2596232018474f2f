"""What every client promises, whatever its protocol: keys, waits, odd bodies, silence, shutdown."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import GivenUp, ModelError, RateLimited, Rejected, Unavailable
from tests.workers.asking import KEY, ask, calls, failure, model_of, server, servers
from tests.workers.chat_server import CANARY, Server, chat_servers
from tests.workers.provider_answers import ERRORS, GOOD
from workers.clients import CallsInFlight, Reply

__all__ = ["calls", "server", "servers"]  # fixtures

every_protocol = pytest.mark.parametrize("protocol", GOOD)
HEADERS = {
    "openai": "authorization",
    "anthropic": "x-api-key",
    "gemini": "x-goog-api-key",
    "ollama": "authorization",
}


@every_protocol
def test_an_answer_and_what_it_cost(server: Server, calls: CallsInFlight, protocol: str) -> None:
    """Text, the version that answered and the tokens of each protocol's own shape; the text is in no repr."""
    server.body = GOOD[protocol]()
    reply = ask(server, calls, protocol)
    assert (reply.raw_text, reply.returned_model) == (CANARY, "oak-2026-10-01")
    assert (reply.prompt_tokens, reply.completion_tokens) == (120, 45)
    assert reply.duration_s > 0
    assert CANARY not in repr(reply)
    assert server.requests[0][1]["x-request-id"] == "owed-1:2"


@every_protocol
def test_a_key_is_in_one_header_and_read_anew(
    server: Server, calls: CallsInFlight, tmp_path: Path, protocol: str
) -> None:
    """A changed file is used at the next call; the key is not in the address, the body or the model."""
    server.body = GOOD[protocol]()
    file = tmp_path / "key"
    for turn in ("1", "2"):
        file.write_text(f"{KEY}-{turn}\n")
        ask(server, calls, protocol, key_file=file)
    sent = [headers.pop(HEADERS[protocol]).removeprefix("Bearer ") for _, headers, _ in server.requests]
    assert sent == [f"{KEY}-1", f"{KEY}-2"]
    assert KEY not in str(server.requests)
    assert KEY not in repr(model_of(server, protocol, key_file=file))
    file.unlink()
    assert failure(server, calls, Rejected, protocol, key_file=file).prompt_tokens == 0
    assert len(server.requests) == 2


@every_protocol
@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Rejected), (404, Rejected), (408, Unavailable), (429, RateLimited), (503, Unavailable)],
)
def test_a_status_alone_has_its_error(
    server: Server, calls: CallsInFlight, protocol: str, status: int, kind: type[ModelError]
) -> None:
    """With the provider's error that says no more, and with a gateway's page; Retry-After is read."""
    server.status, server.headers = status, {"Retry-After": "17"}
    for body in (ERRORS[protocol], b"<html>" + CANARY.encode()):
        server.body = body
        error = failure(server, calls, kind, protocol)
        assert (error.status, error.retry_after_s) == (status, 17)


@every_protocol
@pytest.mark.parametrize("body", [b"", b"{" + CANARY.encode(), b"[]", b'"text"', b"\xff\xfe", b"{}", b"null"])
def test_a_200_that_is_no_answer_is_unavailable(
    server: Server, calls: CallsInFlight, protocol: str, body: bytes
) -> None:
    """Broken or foreign JSON: what it cost is not known."""
    server.body = body
    error = failure(server, calls, Unavailable, protocol)
    assert (error.status, error.prompt_tokens) == (200, None)


@every_protocol
def test_a_login_page_is_unavailable(server: Server, calls: CallsInFlight, protocol: str) -> None:
    """An answer of another media type is none, even if it could be read."""
    server.body = json.dumps(GOOD[protocol]()).encode()
    server.headers = {"Content-Type": "text/html"}
    failure(server, calls, Unavailable, protocol)


@every_protocol
def test_a_redirect_is_not_followed(
    servers: Callable[[], Server], calls: CallsInFlight, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither text nor key reach the host that a redirect names."""
    monkeypatch.setenv("OAK_KEY", KEY)
    first, other = servers(), servers()
    first.status, first.body, first.headers = 307, b"", {"Location": other.url}
    assert "redirect" in str(failure(first, calls, Rejected, protocol, key_env="OAK_KEY"))
    assert other.requests == []


@every_protocol
def test_calls_are_given_up_at_shutdown(server: Server, calls: CallsInFlight, protocol: str) -> None:
    """An open call ends with `GivenUp`."""
    server.hold = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask, server, calls, protocol)
        while not server.requests:
            assert not future.done()
        assert calls.close_all() == 1
        assert isinstance(future.exception(20), GivenUp)
    server.hold.set()


@every_protocol
def test_nothing_of_a_call_is_logged(
    server: Server,
    calls: CallsInFlight,
    protocol: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With all loggers at DEBUG, neither text nor key nor address appears."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OAK_KEY", KEY)
    server.body = GOOD[protocol]()
    ask(server, calls, protocol, key_env="OAK_KEY")
    assert caplog.text == ""


def paths(body: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a JSON document."""
    steps = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [at, *(path for step, part in steps for path in paths(part, (*at, step)))]


def planted(body: Any, path: tuple[Any, ...], what: Any) -> Any:
    """The document with something else at this place."""
    if not path:
        return what
    copy = dict(body) if isinstance(body, dict) else list(body)
    copy[path[0]] = planted(body[path[0]], path[1:], what)
    return copy


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@every_protocol
def test_no_shape_makes_another_error(protocol: str) -> None:
    """Whatever stands wherever in an answer or an error: a reply of valid text, or one of our errors."""
    calls = CallsInFlight(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with chat_servers() as start:
        server = start()

        @settings(max_examples=30, deadline=None)
        @given(status=st.sampled_from([200, 200, 400, 429]), data=st.data())
        def check(status: int, data: st.DataObject) -> None:
            body = ERRORS[protocol] if status != 200 else GOOD[protocol]()
            server.status = status
            server.body = planted(body, data.draw(st.sampled_from(paths(body))), data.draw(ANYTHING))
            try:
                reply = ask(server, calls, protocol)
            except ModelError:
                return
            assert isinstance(reply, Reply)
            reply.raw_text.encode()
            assert reply.finish_reason is None or isinstance(reply.finish_reason, str)

        check()
    calls.close_all()
