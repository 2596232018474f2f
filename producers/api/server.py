"""The HTTP server of the door: uvicorn, in the foreground; access logs hold no address but the route's."""

from __future__ import annotations

import socket

import uvicorn

from producers.api.access import Site
from producers.api.app import create_app
from shared import startup
from shared.errors import SettingsError
from shared.settings import Settings


def serve(settings: Settings, host: str | None = None, port: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT; says where as soon as it listens.

    What is not given is taken from the settings. Raises `SettingsError`.
    """
    host = host or settings.api_host
    app = create_app(Site.of(settings))
    try:
        listening = listen(host, settings.api_port if port is None else port)
    except OSError as error:
        raise SettingsError(
            f"the API cannot listen on {host} port {settings.api_port if port is None else port}: "
            f"{error.strerror}; set CONSILIUM_API_HOST and CONSILIUM_API_PORT (0: a free one)"
        ) from None
    startup.over()
    shown = f"[{host}]" if ":" in host else host
    print(f"api on http://{shown}:{listening.getsockname()[1]}", flush=True)
    # no access log: paths hold ids only, but queries may hold whatever a client puts there
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_keep_alive=30
    )
    uvicorn.Server(config).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError`.

    Its protocol is named: only then does asyncio set TCP_NODELAY, without which each answer waits 40 ms for
    the client's delayed acknowledgement of its headers.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    made.listen(4096)
    return made
