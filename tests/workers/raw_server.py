"""A TCP server that does just what a test says, for connections that drip, break off or hang."""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from workers.clients.connections import CallsInFlight, HTTPAnswer

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"


Serving = Callable[..., "RawServer"]


class Visit:
    """One connection, seen from the server."""

    def __init__(self, sock: socket.socket, server: RawServer) -> None:
        self.sock = sock
        self.server = server

    def request(self) -> bytes | None:
        """The next whole request; None once the client is gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (part := self._receive()):
                return None
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")
        )
        while len(body) < length:
            if not (part := self._receive()):
                return None
            body += part
        self.server.requests.append(head + b"\r\n\r\n" + body)
        self.server.asked.release()
        return body

    def wait_until_gone(self) -> None:
        """Wait until the client has closed the connection."""
        while self._receive():
            pass

    def drip(self, byte: bytes) -> None:
        """A byte now and then, until the client is gone."""
        while not select.select([self.sock], [], [], 0.05)[0]:
            self.sock.sendall(byte)
        self.wait_until_gone()

    def _receive(self) -> bytes:
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.server.gone.set()
        return data


class RawServer:
    """A TCP server on loopback; `serve` gets every connection in a thread of its own."""

    def __init__(self, serve: Callable[[Visit], None], tls: ssl.SSLContext | None = None) -> None:
        self.serve = serve
        self.tls = tls
        self.connections = 0
        self.socks: list[socket.socket] = []
        self.requests: list[bytes] = []
        self.asked = threading.Semaphore(0)  # released for each request read
        self.gone = threading.Event()  # a client has closed its connection
        self.closed = threading.Event()  # the server has closed one
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/v1/x"
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.threads.append(threading.Thread(target=self._visit, args=(sock,)))
            self.threads[-1].start()

    def _visit(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            self.socks.append(sock)
            self.serve(Visit(sock, self))
        sock.close()
        self.closed.set()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.socks:  # of clients that keep their connection
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()


@contextlib.contextmanager
def raw_servers() -> Iterator[Serving]:
    """Starts servers that are stopped at the end."""
    servers: list[RawServer] = []

    def start(serve: Callable[[Visit], None], tls: ssl.SSLContext | None = None) -> RawServer:
        servers.append(RawServer(serve, tls))
        return servers[-1]

    try:
        yield start
    finally:
        for server in servers:
            server.stop()


@contextlib.contextmanager
def own_calls(tls: ssl.SSLContext | None = None) -> Iterator[CallsInFlight]:
    """Connections of the test's own; none left over may complain when it is collected."""
    calls = CallsInFlight(tls, idle_s=60)
    try:
        yield calls
    finally:
        calls.close_all()
        gc.collect()


def post(calls: CallsInFlight, url: str, content: bytes = b"{}", deadline_s: float = 60) -> HTTPAnswer:
    return calls.post(url, headers={}, content=content, connect_s=5, deadline_s=deadline_s)


def answering(visit: Visit) -> None:
    while visit.request() is not None:
        visit.sock.sendall(OK)
