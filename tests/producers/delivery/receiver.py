"""A hospital's receiver: a real HTTP server that checks signatures by the code in docs/events.md."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.accepted import ROOT

_PAGE = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
_EXAMPLE = re.search(r"```python\n(import base64.*?)```", _PAGE, re.DOTALL)
assert _EXAMPLE
_NAMES: dict[str, Any] = {}
exec(compile(_EXAMPLE[1], "docs/events.md", "exec"), _NAMES)
verify = _NAMES["verify"]
"""The page's own receiver: (secret, headers, body) → the event's id, or ValueError."""


class Receiver(ThreadingHTTPServer):
    """Takes events of good signature. `answers`: statuses of the next requests, then 204."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.secret = ""
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.taken: list[tuple[str, dict[str, Any]]] = []  # ids and bodies, in the order of arrival
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.heard = threading.Condition()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}/events"

    def wait(self, count: int) -> None:
        """Until so many are taken; pytest's limit ends it."""
        with self.heard:
            self.heard.wait_for(lambda: len(self.taken) >= count)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.heard:
            self.server.asked.append((self.path, headers, body))
            status, more = self.server.answers.pop(0) if self.server.answers else (204, {})
            try:
                event_id = verify(self.server.secret, headers, body)
            except ValueError:
                status = 401
            if status < 300:
                self.server.taken.append((event_id, json.loads(body)))
                self.server.heard.notify_all()
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver that serves."""
    with Receiver(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
