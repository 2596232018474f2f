"""Connections over TLS: reuse, deadline, cut and refusal are the same as without."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import GivenUp, Unavailable
from tests.workers.certificates import throw_away
from tests.workers.raw_server import OK, Serving, Visit, answering, own_calls, post, raw_servers
from workers.clients.connections import CallsInFlight

TLS = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture
def calls(authority: TLS) -> Iterator[CallsInFlight]:
    with own_calls(authority[1]) as calls:
        yield calls


@pytest.fixture
def serving() -> Iterator[Serving]:
    with raw_servers() as start:
        yield start


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    """A server's and a client's TLS context with a throw-away certificate for 127.0.0.1."""
    made = throw_away(tmp_path_factory.mktemp("tls"))
    return made.server, ssl.create_default_context(cafile=str(made.file))


def test_tls_has_reuse_deadline_and_cut(calls: CallsInFlight, serving: Serving, authority: TLS) -> None:
    """Over TLS too: connections are used again, a drip ends at the deadline, close_all wakes a reader."""

    def answer_then_drip(visit: Visit) -> None:
        for _ in range(3):
            visit.request()
            visit.sock.sendall(OK)
        visit.request()
        visit.drip(b"H")

    def hang(visit: Visit) -> None:
        visit.request()
        visit.wait_until_gone()

    server = serving(answer_then_drip, authority[0])
    for _ in range(3):
        assert post(calls, server.url).body == b"{}"
    with pytest.raises(Unavailable, match="deadline"):
        post(calls, server.url, deadline_s=0.5)
    assert server.connections == 1
    hanging = serving(hang, authority[0])
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(post, calls, hanging.url)
        assert hanging.asked.acquire(timeout=20)
        assert calls.close_all() == 1
        assert isinstance(future.exception(20), GivenUp)


def test_an_unknown_authority_is_refused(serving: Serving, authority: TLS) -> None:
    """A certificate that nobody vouches for ends the call before a byte of the request."""
    server = serving(answering, authority[0])
    with own_calls() as calls, pytest.raises(Unavailable, match="no connection") as caught:
        post(calls, server.url)
    assert server.requests == []
    assert caught.value.prompt_tokens == 0


def test_a_silent_tls_server_is_left(calls: CallsInFlight, serving: Serving) -> None:
    """A handshake that does not go on ends at the connect deadline, or when all calls are closed."""
    server = serving(lambda visit: visit.wait_until_gone())  # plain: it never answers the handshake
    url = server.url.replace("http:", "https:")
    with pytest.raises(Unavailable, match="no connection"):
        calls.post(url, headers={}, content=b"{}", connect_s=0.3, deadline_s=60)
    assert server.gone.wait(20)
    server.gone.clear()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(calls.post, url, headers={}, content=b"{}", connect_s=50, deadline_s=60)
        while server.connections < 2:
            assert not future.done()
        assert calls.close_all() == 1
        assert isinstance(future.exception(20), GivenUp)
    assert server.gone.wait(20)
