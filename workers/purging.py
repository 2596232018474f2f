"""Retention: texts that are past it are destroyed with their keys, batch by batch, once a period."""

from __future__ import annotations

import logging

from db.queries import erasing, workers
from workers.context import Context

log = logging.getLogger("consilium.purging")

JOB = "purge_expired"
EVERY_S = 3600.0
BATCH = 200
"""Records whose texts one transaction destroys."""
BATCHES = 1000
"""At most so many in one period: what is left over waits for the next."""


def purge_expired(ctx: Context) -> int:
    """Destroy what is past its retention if nobody has begun to in this period; of how many records."""
    with ctx.transaction() as session:
        period = workers.begin_period(session, JOB, EVERY_S)
    if period is None:
        return 0
    purged, result = 0, "failed"
    try:
        for _ in range(BATCHES):
            with ctx.transaction() as session:
                found = erasing.purge(session, most=BATCH)
            purged += found
            if not found or ctx.stopping.is_set():
                break
        result = f"purged {purged}"
    finally:
        with ctx.transaction() as session:
            workers.end_period(session, JOB, period, result)
    if purged:
        log.info("past their retention: records=%d", purged)
    return purged
