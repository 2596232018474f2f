"""`consilium api`: the HTTP API, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from producers.api.server import serve
from shared.settings import get_settings


def api(
    host: Annotated[
        str | None, typer.Option(help="Where to listen; off the loopback put TLS before it.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="0: a free one, which is printed.")
    ] = None,
) -> None:
    """Serve the HTTP API until Ctrl-C; `up` runs it already. Keys: `consilium sources keys add`."""
    serve(get_settings(), host, port)
