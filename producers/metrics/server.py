"""The HTTP server of `/metrics` and `/healthz`: GET only, closed unless on the loopback or behind a token."""

from __future__ import annotations

import hmac
import ipaddress
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from producers.health import flows
from producers.metrics.collector import Site
from shared import startup
from shared.errors import SettingsError
from shared.registry import load_registry
from shared.settings import Settings

HEALTH_KEPT_S = 1.0
"""`/healthz` wants no token, so that however often it is asked it looks no more than once in this time."""


class Server(ThreadingHTTPServer):
    """Serves `settings`' site at (host, port); port 0 takes a free one.

    Raises `SettingsError`: an address other than the loopback without a token, one that cannot be bound, no
    models.toml or no database named.
    """

    daemon_threads = True

    def __init__(self, settings: Settings, host: str, port: int) -> None:
        token = settings.metrics_token.get_secret_value() if settings.metrics_token else ""
        if not token and not _loopback(host):
            raise SettingsError(
                f"/metrics on {host} would be open to the network: set CONSILIUM_METRICS_TOKEN, or leave "
                "CONSILIUM_METRICS_HOST at 127.0.0.1"
            )
        self.bearer = f"Bearer {token}".encode() if token else None
        settings.require_database()
        settings.require_broker()
        registry = CollectorRegistry()
        registry.register(Site(settings, load_registry(settings.require_models_file())))
        self.measure: Callable[[], bytes] = lambda: generate_latest(registry)
        self._settings = settings
        self._looked: tuple[float, dict[str, str]] = (-HEALTH_KEPT_S, {})
        self._looking = threading.Lock()
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise SettingsError(
                f"/metrics cannot listen on {host} port {port}: {error.strerror}; set CONSILIUM_METRICS_HOST "
                "and CONSILIUM_METRICS_PORT (0: a free one)"
            ) from None

    @property
    def url(self) -> str:
        """Where it serves."""
        host, port = self.server_address[:2]
        host = str(host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def look(self) -> dict[str, str]:
        """The checks of `consilium health` by name, each `ok` or `failed`."""
        with self._looking:
            at, found = self._looked
            if time.monotonic() - at >= HEALTH_KEPT_S:
                checks = flows(self._settings)
                found = {check.name: "failed" if check.level == "problem" else "ok" for check in checks}
                self._looked = (time.monotonic(), found)
            return found

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked has gone or fallen silent: nothing to tell."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "consilium", ""
    timeout = 10  # who connects and says nothing is let go

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/healthz":
            checks = self.server.look()
            good = "failed" not in checks.values()
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            body = json.dumps({"ok": good, "checks": checks}).encode() + b"\n"
            self._answer(status, "application/json", body)
        elif path != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/metrics or /healthz\n")
        elif not self._allowed():
            wants = ("WWW-Authenticate", "Bearer")
            self._answer(HTTPStatus.UNAUTHORIZED, "text/plain", b"a bearer token is needed\n", wants)
        else:
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, self.server.measure())

    def _allowed(self) -> bool:
        given = self.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return self.server.bearer is None or hmac.compare_digest(given, self.server.bearer)

    def _answer(self, status: HTTPStatus, type_: str, body: bytes, *more: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", type_), ("Content-Length", str(len(body))), *more):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class names it)
        """A line for each scrape would tell nobody anything."""


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(settings: Settings, host: str | None = None, port: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, in the main thread; says where as soon as it does.

    What is not given is taken from the settings. Raises `SettingsError`.
    """
    server = Server(settings, host or settings.metrics_host, settings.metrics_port if port is None else port)
    signal.signal(signal.SIGTERM, _end)  # as process 1 of a container we would not end without it
    signal.signal(signal.SIGINT, _end)
    startup.over()
    with server:
        print(f"metrics on {server.url}", flush=True)
        server.serve_forever()


def _end(*_: object) -> None:
    raise SystemExit(0)
