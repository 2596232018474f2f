"""An HTTP server for all protocols, which answers as a test says; the shapes of chat completions."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CANARY = "zqx-canary-7731"
"""Stands for clinical text."""


def completion(content: Any = CANARY, *, finish: str = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": None, **more.pop("message", {})}
    return {
        "id": "c1",
        "object": "chat.completion",
        "model": "oak-2026-10-01",
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 120, "completion_tokens": 45, "total_tokens": 165},
        **more,
    }


class Server(ThreadingHTTPServer):
    """Answers every request with what the test has set, and remembers it."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: Any = completion()
        self.hold: threading.Event | None = None
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self.server_port}"
        self.url = f"{self.root}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, json.loads(body)))
        if self.server.hold is not None:
            self.server.hold.wait(20)
            self.close_connection = True
            return
        sent = self.server.body
        payload = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        given = {"Content-Type": "application/json", **self.server.headers}
        if given.get("Transfer-Encoding") == "chunked":  # a piece a line, as streams come
            pieces = [*payload.splitlines(keepends=True), b""]
            payload = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        else:
            given.setdefault("Content-Length", str(len(payload)))
        self.send_response_only(self.server.status)
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def chat_servers() -> Iterator[Callable[[], Server]]:
    """Starts servers that are stopped at the end."""
    started: list[tuple[Server, threading.Thread]] = []

    def start() -> Server:
        server = Server()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((server, thread))
        return server

    try:
        yield start
    finally:
        for server, thread in started:
            server.shutdown()
            thread.join()
            server.server_close()
