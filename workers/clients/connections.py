"""HTTP connections to model servers: one call at a time each, under one total deadline, cut at shutdown.

Why not one `httpx.Client`: a pool of many connections costs O(connections) a call, and its timeouts are per
read, so a server that sends a byte a second is never late. Here a thread takes a connection from a stack for
one call and puts it back; last in, first out, so what is taken is fresh and what is not needed grows old and
is closed. The sockets are ours (httpcore's network backend): each wait gets what is left of the deadline, and
`close_all` can shut a socket down under a blocked read, which closing it would not wake.

Nothing is retried (design, rule 9), not even on a kept connection that the server closed meanwhile: whether
the request was read before cannot be known, and an answer paid twice is worse than a wait. So that this stays
rare, a connection is used again only within `IDLE_S` and if the server has not closed it visibly.

A call goes the way that its `Route` says and no other: the environment's proxies (HTTPS_PROXY and the like)
are not asked, since what leaves the house, and by which door, is said in models.toml.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpcore
import httpx

from shared.errors import GivenUp, ModelError, Rejected, Unavailable

IDLE_S = 1.5
"""A connection idle for longer is not used again: the shortest keep-alive in the field is 2 s (gunicorn)."""

MAX_BODY = 4 * 1024 * 1024
"""Longest body that is read, in bytes."""

UNPAID = {"prompt_tokens": 0, "completion_tokens": 0}
"""Nothing of the request was sent."""

# Requests carry patients and keys; at INFO and DEBUG these two describe them.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Route:
    """How a server is reached: by which HTTP proxy (http://host:port), trusting which authorities alone."""

    proxy: str | None = None  # None: directly
    ca_file: Path | None = None  # PEM; None: those of `CallsInFlight`


@dataclass(frozen=True, repr=False)
class HTTPAnswer:
    """A response of any status, read to its end. Not shown in reprs: the body is clinical."""

    status: int
    headers: httpx.Headers
    body: bytes


@contextlib.contextmanager
def _translated(timeout: type[Exception], other: type[Exception]) -> Iterator[None]:
    """The socket's errors as httpcore's."""
    try:
        yield
    except TimeoutError as error:
        raise timeout from error
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that no server can have
        raise other from error


def _until(then: float) -> float:
    if (left := then - time.monotonic()) <= 0:
        raise TimeoutError
    return left


class _Wire(httpcore.NetworkBackend):
    """The socket below one connection: whoever waits on it waits until the deadline of the call at most.

    `tunnels`: the host that it connects to is a proxy, which is asked for a tunnel before TLS begins.
    """

    def __init__(self, *, tunnels: bool = False) -> None:
        self._tunnels = tunnels
        self.tunnelling = False  # connected to the proxy, and not yet to the server behind it
        self.cut_off = False
        self.wrote = False  # some of the current call's request has been sent
        self._deadline = self._connect_by = 0.0  # time.monotonic(), seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()  # no shutdown on a file number that has just been closed and given away

    def begin(self, connect_s: float, deadline_s: float) -> None:
        """A new call: the clocks start."""
        self.wrote = self.tunnelling = False
        self._deadline = time.monotonic() + deadline_s
        self._connect_by = time.monotonic() + min(connect_s, deadline_s)

    def left(self) -> float:
        """Seconds left of the call, or to connect; `TimeoutError` when there are none."""
        return _until(self._connect_by if self.tunnelling else self._deadline)

    def left_to_connect(self) -> float:
        """Seconds left to connect; `TimeoutError` when there are none."""
        return _until(self._connect_by)

    def cut(self) -> None:
        """From another thread: wake whoever waits on the socket; the call fails at once."""
        with self._lock:
            self.cut_off = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # not connected yet, or not any more: nobody to wake
                    socket.socket.shutdown(
                        self._socket, socket.SHUT_RDWR
                    )  # not SSLSocket's: it drops TLS first

    def hold(self, sock: socket.socket | None) -> None:
        """Note the socket that `cut` has to shut down; `ConnectionError` if it came first."""
        with self._lock:
            self._socket = sock
            if self.cut_off and sock is not None:
                raise ConnectionAbortedError

    def close(self, sock: socket.socket) -> None:
        """Close the socket."""
        with self._lock:
            sock.close()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 (httpcore's signature; the deadlines are ours)
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Try the host's addresses in turn; each gets its share of the time that is left to connect."""
        with _translated(httpcore.ConnectTimeout, httpcore.ConnectError):
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            for number, (family, kind, protocol, _, address) in enumerate(addresses):
                sock = socket.socket(family, kind, protocol)
                try:
                    self.hold(sock)
                    sock.settimeout(self.left_to_connect() / (len(addresses) - number))
                    sock.connect(address)
                    self.hold(sock)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.tunnelling = self._tunnels
                    return _Stream(self, sock)
                except OSError:
                    self.close(sock)
                    if number + 1 == len(addresses):
                        raise
            raise OSError("the host has no address")


class _Stream(httpcore.NetworkStream):
    """A connected socket as httpcore wants it; httpcore's own timeouts, which are per read, are not used."""

    def __init__(self, wire: _Wire, sock: socket.socket) -> None:
        self._wire = wire
        self._socket = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        with _translated(httpcore.ReadTimeout, httpcore.ReadError):
            self._socket.settimeout(self._wire.left())
            data = self._socket.recv(max_bytes)
            if not data and self._wire.cut_off:  # our own end of the stream is not the end of a body
                raise ConnectionAbortedError
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        with _translated(httpcore.WriteTimeout, httpcore.WriteError):
            while buffer:
                self._socket.settimeout(self._wire.left())
                sent = self._socket.send(buffer)
                self._wire.wrote = not self._wire.tunnelling
                buffer = buffer[sent:]

    def close(self) -> None:
        self._wire.close(self._socket)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        sock = self._socket
        with _translated(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                sock = tls = ssl_context.wrap_socket(
                    sock, server_hostname=server_hostname, do_handshake_on_connect=False
                )
                self._wire.hold(tls)
                tls.settimeout(self._wire.left_to_connect())
                tls.do_handshake()
            except OSError:
                self._wire.close(sock)
                raise
        self._wire.tunnelling = False
        return _Stream(self._wire, sock)

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":  # asked before a kept connection is used: readable = the server closed it
            return None
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


class _Connection(httpx.HTTPTransport):
    """An httpx transport of one kept connection over a wire of our own."""

    def __init__(self, tls: ssl.SSLContext, scheme: str, proxy: str | None) -> None:
        super().__init__(verify=tls, trust_env=False)
        self.wire = _Wire(tunnels=proxy is not None and scheme == "https")
        self.idle_since = 0.0
        # httpx hands no network backend through to httpcore, so its (still empty) pool is replaced.
        self._pool = (
            httpcore.ConnectionPool(tls, max_connections=1, network_backend=self.wire)
            if proxy is None
            else httpcore.HTTPProxy(proxy, ssl_context=tls, max_connections=1, network_backend=self.wire)
        )

    def post(
        self, url: str, headers: Mapping[str, str], content: bytes, connect_s: float, deadline_s: float
    ) -> HTTPAnswer:
        """One request and its whole response. Raises `httpx.HTTPError`, or `Unavailable` for its body."""
        self.wire.begin(connect_s, deadline_s)
        request = httpx.Request(
            "POST", url, headers={"Accept-Encoding": "identity", **headers}, content=content
        )
        response = self.handle_request(request)
        try:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise Unavailable(
                    "the response is compressed, which was not asked for", status=response.status_code
                )
            body = bytearray()
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > MAX_BODY:
                    raise Unavailable(
                        f"the response is longer than {MAX_BODY} bytes", status=response.status_code
                    )
        finally:
            response.close()
        return HTTPAnswer(response.status_code, response.headers, bytes(body))


Host = tuple[str, str, int | None, Route]
"""Scheme, name, port and way: a kept connection is for calls of the same four."""


class CallsInFlight:
    """All calls of this process to model servers, and the connections kept for the next; thread-safe."""

    def __init__(self, tls: ssl.SSLContext | None = None, idle_s: float = IDLE_S) -> None:
        """`tls`, of routes without `ca_file`, is by default httpx's: certifi's authorities, or those of
        SSL_CERT_FILE or SSL_CERT_DIR."""
        self._tls: dict[Path | None, ssl.SSLContext] = {} if tls is None else {None: tls}
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._idle: dict[Host, deque[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._closed = False

    @property
    def count(self) -> int:
        """Calls in flight now."""
        return len(self._open)

    def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes,
        connect_s: float,
        deadline_s: float,
        route: Route = Route(),
    ) -> HTTPAnswer:
        """Send one POST; a response of any status, redirects included, is returned.

        All of it together takes at most `deadline_s` seconds, `connect_s` of them until the server itself is
        reached (resolving a host's name, which cannot be cut short, is the one exception). Raises
        `Unavailable` (no connection, connection cut, deadline passed, broken HTTP, body too long), `Rejected`
        (`ca_file` cannot be read, the proxy forbids the way) and `GivenUp` (after `close_all`).
        """
        parsed = httpx.URL(url)
        host = (parsed.scheme, parsed.host, parsed.port, route)
        connection = self._take(host)
        reusable = False
        try:
            answer = connection.post(url, headers, content, connect_s, deadline_s)
            reusable = True
            return answer
        except httpx.HTTPError as error:
            raise _failure(error, connection.wire, connect_s, deadline_s) from None
        finally:
            self._give_back(host, connection, reusable)

    def close_all(self) -> int:
        """End every open call at once with `GivenUp`, and each later one before it begins.

        Returns how many calls were open; may be called from any thread, more than once.
        """
        with self._lock:
            self._closed = True
            opened = list(self._open)
            idle = [connection for stack in self._idle.values() for connection in stack]
            self._idle.clear()
        for connection in opened:
            connection.wire.cut()
        for connection in idle:
            connection.close()
        return len(opened)

    def _take(self, host: Host) -> _Connection:
        """The connection used last, if still fresh, or a new one; those grown old are closed."""
        oldest_wanted = time.monotonic() - self._idle_s
        with self._lock:
            if self._closed:
                raise GivenUp("no call is made during shutdown", **UNPAID)
            scheme, _, _, route = host
            tls = self._context(route.ca_file)
            stack = self._idle.setdefault(host, deque())
            old = []
            while stack and stack[0].idle_since < oldest_wanted:
                old.append(stack.popleft())
            connection = stack.pop() if stack else _Connection(tls, scheme, route.proxy)
            self._open.add(connection)
        for forgotten in old:
            forgotten.close()
        return connection

    def _context(self, ca_file: Path | None) -> ssl.SSLContext:
        """The TLS context of these authorities. It costs 20 ms: one for all connections."""
        if ca_file not in self._tls:
            try:
                self._tls[ca_file] = (
                    httpx.create_ssl_context()
                    if ca_file is None
                    else ssl.create_default_context(cafile=str(ca_file))
                )
            except OSError as error:  # ssl.SSLError is one: no certificate in it
                where = "SSL_CERT_FILE or SSL_CERT_DIR" if ca_file is None else f"the ca_file {ca_file}"
                why = f"{where} cannot be read ({type(error).__name__}): name a PEM file"
                raise Rejected(why, **UNPAID) from None
        return self._tls[ca_file]

    def _give_back(self, host: Host, connection: _Connection, reusable: bool) -> None:
        with self._lock:
            self._open.remove(connection)
            if keep := reusable and not self._closed:
                connection.idle_since = time.monotonic()
                self._idle[host].append(connection)
        if not keep:
            connection.close()


def _failure(error: httpx.HTTPError, wire: _Wire, connect_s: float, deadline_s: float) -> ModelError:
    """The error as ours, of which only the kind is told: its text may quote the response."""
    kind = type(error).__name__
    unpaid = {} if wire.wrote else UNPAID
    if wire.cut_off:
        return GivenUp("the call was closed at shutdown", **unpaid)
    if isinstance(error, httpx.ProxyError) and (status := re.match(r"[45]\d\d\b", str(error))):
        forbids = status[0][0] == "4" and status[0] not in ("408", "425", "429")
        refusal = f"the proxy refused the way to the server: {status[0]}"
        return (Rejected if forbids else Unavailable)(refusal, **unpaid)
    if wire.tunnelling or isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        return Unavailable(f"no connection within {connect_s:g} s: {kind}", **unpaid)
    if isinstance(error, httpx.TimeoutException):
        return Unavailable(f"the deadline of {deadline_s:g} s passed", **unpaid)
    return Unavailable(f"the connection failed: {kind}", **unpaid)


calls_in_flight = CallsInFlight()
"""Those of this process. A forked child starts with none: two on one connection would mix their answers."""

os.register_at_fork(after_in_child=calls_in_flight.__init__)  # type: ignore[misc]
