"""`consilium deliver`: events to webhooks and exchanges, submissions from queues, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producers.delivery.server import serve
from shared.settings import get_settings


def deliver(
    alive: Annotated[
        Path | None, typer.Option(help="A file that is touched at each look, for a health check.")
    ] = None,
) -> None:
    """Deliver events and take submissions from queues until Ctrl-C; `up` runs it already.

    Several may run. Webhooks: `consilium webhooks add`; queues and exchanges: CONSILIUM_DOORS_FILE.
    """
    serve(get_settings(), alive=alive)
