"""A small HTTP proxy in front of the panel that spoils answers on order (scenario 21); no `tc netem` needed.

    with Proxy("http://127.0.0.1:8123") as proxy:       # the panel
        proxy.spoil("cut")                              # one more call of this kind is spoilt
        ...                                             # models.toml: base_url = proxy.url

Calls are spoilt in the order of their arrival, each by the next of the queue; with an empty queue they pass.
"""

from __future__ import annotations

import collections
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, get_args
from urllib.parse import urlsplit

Spoiling = Literal["pass", "drip head", "drip body", "huge", "wrong type", "cut", "redirect"]
SPOILINGS: tuple[Spoiling, ...] = get_args(Spoiling)

HUGE = 50 * 1024 * 1024
"""Bytes of the huge answer."""
ELSEWHERE = "127.0.0.2"
"""Another host than the one that the key is for; all of 127/8 is loopback."""

_DRIP_S = 1.0  # a byte a second
_UPSTREAM_S = 120


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a dripping answer may outlive its client by a second
    request_queue_size = 1024


class Proxy:
    """Listens on a loopback port inside the `with`. `spoilt` counts answers by what was done to them.

    `keys_here` counts requests that brought an Authorization header, `asked_elsewhere` all that the other
    host got, `keys_elsewhere` those with such a header: that must stay 0.
    """

    def __init__(self, panel: str) -> None:
        self._panel = urlsplit(panel)
        self._lock = threading.Lock()
        self._orders: collections.deque[Spoiling] = collections.deque()
        self._closing = threading.Event()
        self.spoilt: collections.Counter[str] = collections.Counter()
        self.keys_here = self.asked_elsewhere = self.keys_elsewhere = 0
        proxy = self

        class Here(_Handler):
            def do_POST(self) -> None:
                proxy._answer(self)

        class Elsewhere(_Handler):
            def do_POST(self) -> None:
                self.read()
                with proxy._lock:
                    proxy.asked_elsewhere += 1
                    proxy.keys_elsewhere += "Authorization" in self.headers
                self.head(404, {"Content-Length": "0"})

            def do_GET(self) -> None:  # what some clients make of a redirected POST
                self.do_POST()

        self._here = _Server(("127.0.0.1", 0), Here)
        self._elsewhere = _Server((ELSEWHERE, 0), Elsewhere)

    @property
    def url(self) -> str:
        """The base_url of models behind it."""
        return f"http://127.0.0.1:{self._here.server_address[1]}/v1"

    @property
    def waiting(self) -> int:
        """Calls that are still to be spoilt."""
        return len(self._orders)

    def spoil(self, *kinds: Spoiling) -> None:
        """Spoil so many more calls, in this order."""
        self._orders.extend(kinds)

    def __enter__(self) -> Proxy:
        for server in (self._here, self._elsewhere):
            threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for server in (self._here, self._elsewhere):
            server.shutdown()
            server.server_close()

    def _answer(self, call: _Handler) -> None:
        asked = call.read()
        with self._lock:
            kind = self._orders.popleft() if self._orders else "pass"
            self.spoilt[kind] += 1
            self.keys_here += "Authorization" in call.headers
        status, headers, body = self._forward(call, asked)  # always: the panel's ledger knows each call
        if kind == "redirect":
            other = f"http://{ELSEWHERE}:{self._elsewhere.server_address[1]}{call.path}"
            call.head(307, {"Location": other, "Content-Length": "0"})
        elif kind == "huge":
            call.head(200, {**headers, "Content-Type": "application/json", "Content-Length": str(HUGE)})
            call.write(b"{" + b" " * 65_535)
            for _ in range(HUGE // 65_536 - 1):
                call.write(b" " * 65_536)
        elif kind == "wrong type":
            call.head(status, {**headers, "Content-Type": "text/html", "Content-Length": str(len(body))})
            call.write(body)
        elif kind == "cut":
            call.head(status, {**headers, "Content-Length": str(len(body))})
            call.write(body[: len(body) // 2])
        elif kind == "drip head":
            self._drip(call, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        elif kind == "drip body":
            call.head(status, {**headers, "Content-Length": str(len(body))})
            self._drip(call, body)
        else:
            call.head(status, {**headers, "Content-Length": str(len(body))})
            call.write(body)

    def _drip(self, call: _Handler, answer: bytes) -> None:
        for byte in _bytes(answer):
            call.write(byte)
            if self._closing.wait(_DRIP_S):
                return

    def _forward(self, call: _Handler, asked: bytes) -> tuple[int, dict[str, str], bytes]:
        """The panel's answer: status, headers that matter, body. A client that leaves is left to time out."""
        connection = http.client.HTTPConnection(
            str(self._panel.hostname), self._panel.port, timeout=_UPSTREAM_S
        )
        kept = {k: v for k, v in call.headers.items() if k in ("Content-Type", "X-Request-ID")}
        try:
            connection.request("POST", call.path, asked, kept)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        headers = {k: v for k, v in answer.getheaders() if k in ("Content-Type", "Retry-After", "Date")}
        return answer.status, headers, body


class _Handler(BaseHTTPRequestHandler):
    """One request a connection; a client that has left is no error."""

    def read(self) -> bytes:
        """The request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Status line and headers."""
        lines = [f"HTTP/1.1 {status} {http.client.responses[status]}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.write("\r\n".join([*lines, "", ""]).encode())

    def write(self, data: bytes) -> None:
        """Send it; raises OSError once the client has gone, which ends the request."""
        self.connection.sendall(data)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def _bytes(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))
