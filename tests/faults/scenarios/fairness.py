"""Scenario 22: a hospital that sends a few does not wait for one that sends thousands."""

from __future__ import annotations

import time
import uuid

from tests.faults.bench import Bench
from tests.faults.registry import Kind, scenario

FEW = 10
CHUNK = 2_000  # consultations accepted in one transaction
CALL_S = 3.0  # so that waiting is measured, and not this machine's processor

FAIR = Kind("fair", {"window": 20, "source_window": 10, "model_slots": 64}, beside="nothing")


@scenario(22, "many waiting from one source, few from another", size=20_000, kind=FAIR, limit_s=240)
def few_beside_many(bench: Bench, size: int) -> None:
    """The few end within twice their time on an idle system; the many are not worked off."""
    for source in ("many", "few"):
        bench.cli("sources", "add", source)
    bench.delay(CALL_S)
    warm = bench.submit(FEW, source="few")
    bench.until(lambda now: now.open == 0, warm, what="a first run")
    idle_s, idle = _timed(bench)
    waiting = [
        bench.submit(min(CHUNK, size - at), source="many", nudged=at == 0) for at in range(0, size, CHUNK)
    ]
    bench.until(lambda now: now.dispatched >= bench.settings.source_window, *waiting, what="a full window")
    beside_s, beside = _timed(bench)
    left = bench.now(*waiting).open
    print(f"  22: {FEW} take {idle_s:.1f} s alone, {beside_s:.1f} s beside {left} waiting")
    bench.expect(f"{size} or nearly so still waiting", left > 0.9 * size, left)
    bench.expect(f"at most twice {idle_s:.1f} s beside them", beside_s <= 2 * idle_s, f"{beside_s:.1f} s")
    _take_out(bench, waiting)
    bench.finish(warm, idle, beside, *waiting)


def _timed(bench: Bench) -> tuple[float, uuid.UUID]:
    """Seconds from accepting the few to the end of the last of them."""
    began = time.monotonic()
    submission = bench.submit(FEW, source="few")
    bench.until(lambda now: now.open == 0, submission, what="the end of the few")
    return time.monotonic() - began, submission


# The many need not be worked off: those still waiting are taken out, as if they had never been sent.
# (Foreign keys and the append-only triggers sleep meanwhile, which the owner of the database may ask for.)
TAKE_OUT = """
    WITH gone AS (
        DELETE FROM consultations WHERE submission_id = ANY(%s) AND dispatched_at IS NULL AND state = 'open'
        RETURNING id
    )
    DELETE FROM owed_answers WHERE consultation_id IN (SELECT id FROM gone)
"""


def _take_out(bench: Bench, submissions: list[uuid.UUID]) -> None:
    with bench.connect() as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(TAKE_OUT, [submissions])
