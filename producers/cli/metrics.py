"""`consilium metrics`: /metrics and /healthz, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from producers.metrics.server import serve
from shared.settings import get_settings


def metrics(
    host: Annotated[
        str | None, typer.Option(help="Where to listen; off the loopback it needs a token.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="0: a free one, which is printed.")
    ] = None,
) -> None:
    """Serve /metrics (Prometheus) and /healthz until Ctrl-C; `up` runs it already."""
    serve(get_settings(), host, port)
