"""`consilium chemistry recompute`: learn from the stored history now, as beat does once a period."""

from __future__ import annotations

import typer
from sqlalchemy.exc import IntegrityError

from db import recompute as recomputing
from db.queries import snapshots
from producers.cli.common import Busy, database, out
from shared.settings import get_settings

BUSY = "another run is at work on it at this moment: nothing was stored; try again"


def recompute() -> None:
    """Chemistry from the stored history: a new snapshot where the history has changed."""
    settings = get_settings()
    try:
        with database() as session:
            result = recomputing.recompute(session, "chemistry", settings)
            latest = snapshots.latest(session, "chemistry")
    except IntegrityError:
        raise Busy(BUSY) from None
    purposes = ", ".join(recomputing.purposes(settings))
    if result == "busy":
        raise Busy(BUSY)
    if result == "empty" or latest is None:
        out.print(f"no history of purpose {purposes} is stored yet: nothing to learn from", markup=False)
        raise typer.Exit(0)
    said = "stored" if result == "stored" else "still in force, the history has not changed"
    out.print(
        f"chemistry {latest.number} {said}: {latest.rows_read} rows of purpose {purposes}",
        markup=False,
        highlight=False,
    )
