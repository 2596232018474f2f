"""The way to a server: authorities of its own, a proxy that tunnels or forwards, and no other way."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import GivenUp, ModelError, Rejected, Unavailable
from tests.workers.certificates import Authority, throw_away
from tests.workers.raw_server import RawServer, Serving, Visit, answering, own_calls, raw_servers
from workers.clients.connections import CallsInFlight, HTTPAnswer, Route

PROXIES = [
    name for scheme in ("http", "https", "all") for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper())
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return throw_away(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def calls() -> Iterator[CallsInFlight]:
    with own_calls() as calls:
        yield calls


@pytest.fixture
def serving() -> Iterator[Serving]:
    with raw_servers() as start:
        yield start


def post(calls: CallsInFlight, url: str, route: Route, connect_s: float = 5) -> HTTPAnswer:
    return calls.post(url, headers={}, content=b"{}", connect_s=connect_s, deadline_s=60, route=route)


def failure(calls: CallsInFlight, url: str, route: Route, connect_s: float = 5) -> ModelError:
    with pytest.raises(ModelError) as caught:
        post(calls, url, route, connect_s)
    return caught.value


def line(visit: Visit) -> bytes:
    """The first line of what comes, read to the end of its head; b"" if nothing comes."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (byte := visit.sock.recv(1)):
            return b""
        head += byte
    visit.server.requests.append(head)
    return head.split(b"\r\n")[0]


def tunnelling(visit: Visit) -> None:
    """A small proxy: it joins the client to the server that CONNECT names, and sees only what passes."""
    method, _, target = line(visit).decode().partition(" ")
    assert method == "CONNECT"
    host, _, port = target.split(" ")[0].rpartition(":")
    with socket.create_connection((host, int(port))) as there:
        visit.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        other = {visit.sock: there, there: visit.sock}
        while True:
            for ready in select.select(list(other), [], [])[0]:
                if not (data := ready.recv(65536)):
                    return
                visit.server.requests.append(data)
                other[ready].sendall(data)


def proxy_of(server: RawServer) -> str:
    return f"http://127.0.0.1:{server.port}"


def answers(reply: bytes) -> Callable[[Visit], None]:
    def serve(visit: Visit) -> None:
        line(visit)
        visit.sock.sendall(reply)

    return serve


def test_an_authority_of_its_own_is_trusted(
    calls: CallsInFlight, serving: Serving, authority: Authority
) -> None:
    """With `ca_file` the server's certificate is vouched for, and without it is not, in the same process."""
    server = serving(answering, authority.server)
    assert post(calls, server.url, Route(ca_file=authority.file)).body == b"{}"
    assert "no connection" in str(failure(calls, server.url, Route()))
    assert post(calls, server.url, Route(ca_file=authority.file)).body == b"{}"
    assert len(server.requests) == 2
    assert server.connections == 2  # the one of the first route was used again, and for its own route only


def test_another_authority_is_not_trusted(
    calls: CallsInFlight, serving: Serving, authority: Authority, tmp_path: Path
) -> None:
    """`ca_file` names who is trusted, and nobody beside."""
    server = serving(answering, authority.server)
    error = failure(calls, server.url, Route(ca_file=throw_away(tmp_path).file))
    assert (type(error), error.prompt_tokens, server.requests) == (Unavailable, 0, [])


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_an_authority_is_said(
    calls: CallsInFlight, serving: Serving, tmp_path: Path, content: str | None
) -> None:
    """The file is named before anything is sent."""
    server = serving(answering)
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    error = failure(calls, server.url.replace("http:", "https:"), Route(ca_file=file))
    assert (type(error), error.prompt_tokens, server.connections) == (Rejected, 0, 0)
    assert str(file) in str(error)


def test_a_tunnel_carries_what_the_proxy_cannot_read(
    calls: CallsInFlight, serving: Serving, authority: Authority
) -> None:
    """HTTPS through a proxy: one CONNECT for several calls, and nothing of them in the clear."""
    server, proxy = serving(answering, authority.server), serving(tunnelling)
    route = Route(proxy_of(proxy), authority.file)
    for _ in range(3):
        assert post(calls, server.url, route).body == b"{}"
    assert [len(server.requests), server.connections, proxy.connections] == [3, 1, 1]
    assert proxy.requests[0].startswith(f"CONNECT 127.0.0.1:{server.port} ".encode())
    assert b"/v1/x" not in b"".join(proxy.requests)
    assert b"POST" not in b"".join(proxy.requests)


def test_plain_http_is_forwarded(calls: CallsInFlight, serving: Serving) -> None:
    """HTTP through a proxy: the whole address stands in the request line."""
    proxy = serving(answering)
    assert post(calls, "http://models.example:8000/v1/x", Route(proxy_of(proxy))).body == b"{}"
    assert proxy.requests[0].startswith(b"POST http://models.example:8000/v1/x HTTP/1.1\r\n")


def test_routes_do_not_share_connections(calls: CallsInFlight, serving: Serving) -> None:
    """A kept connection to a server is not used for a call that is to go through a proxy."""
    server, proxy = serving(answering), serving(answering)
    post(calls, server.url, Route())
    post(calls, server.url, Route(proxy_of(proxy)))
    post(calls, server.url, Route())
    assert [len(server.requests), len(proxy.requests)] == [2, 1]


def test_the_environments_proxies_are_not_taken(
    calls: CallsInFlight, serving: Serving, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes where is said in models.toml, not by whoever started the worker."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    plain, tls = serving(answering), serving(answering, authority.server)
    assert post(calls, plain.url, Route()).status == 200
    assert post(calls, tls.url, Route(ca_file=authority.file)).status == 200


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (
            b"HTTP/1.1 407 SECRET\r\nContent-Length: 0\r\n\r\n",
            Rejected,
            "the proxy refused the way to the server: 407",
        ),
        (
            b"HTTP/1.1 403 SECRET\r\nContent-Length: 0\r\n\r\n",
            Rejected,
            "the proxy refused the way to the server: 403",
        ),
        (
            b"HTTP/1.1 503 SECRET\r\nContent-Length: 0\r\n\r\n",
            Unavailable,
            "the proxy refused the way to the server: 503",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nno TLS here\r\n", Unavailable, "no connection within 5 s: ConnectError"),
        (b"garbage\r\n\r\n", Unavailable, "no connection within 5 s: RemoteProtocolError"),
        (b"", Unavailable, "no connection within 5 s: RemoteProtocolError"),
    ],
)
def test_a_proxy_that_refuses_is_said(
    calls: CallsInFlight, serving: Serving, reply: bytes, kind: type[ModelError], said: str
) -> None:
    """Its status and no word of it; nothing was sent to the server, so nothing was paid."""
    proxy = serving(answers(reply))
    error = failure(calls, "https://models.example/v1/x", Route(proxy_of(proxy)))
    assert (type(error), str(error)) == (kind, said)
    assert (error.prompt_tokens, error.completion_tokens) == (0, 0)
    assert len(proxy.requests) == 1


def test_a_proxy_that_is_not_there_or_silent(calls: CallsInFlight, serving: Serving) -> None:
    """The way counts as connecting: it ends after connect_s, or at once when all calls are closed."""
    url = "https://models.example/v1/x"
    nobody = failure(calls, url, Route("http://127.0.0.1:1"))
    assert (type(nobody), nobody.prompt_tokens) == (Unavailable, 0)
    silent = serving(lambda visit: visit.wait_until_gone())
    late = failure(calls, url, Route(proxy_of(silent)), connect_s=0.3)
    assert (type(late), str(late)) == (Unavailable, "no connection within 0.3 s: ReadTimeout")
    assert late.prompt_tokens == 0
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(post, calls, url, Route(proxy_of(silent)), 50)
        while silent.connections < 2:
            assert not future.done()
        calls.close_all()
        assert isinstance(future.exception(20), GivenUp)


def test_what_is_lost_behind_a_tunnel_may_have_been_paid(
    calls: CallsInFlight, serving: Serving, authority: Authority
) -> None:
    """A server that reads the request and goes: what it cost is not known, as without a proxy."""
    server, proxy = serving(lambda visit: visit.request() and None, authority.server), serving(tunnelling)
    error = failure(calls, server.url, Route(proxy_of(proxy), authority.file))
    assert (type(error), error.prompt_tokens) == (Unavailable, None)
    assert "the connection failed" in str(error)


def test_no_older_tls_is_spoken(authority: Authority) -> None:
    """Authorities of one's own do not lower what TLS asks for."""
    with own_calls() as calls:
        context = calls._context(authority.file)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
