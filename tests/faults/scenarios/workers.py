"""Workers that are killed, die at the worst instant, or are told to stop."""

from __future__ import annotations

import signal

from tests.faults.bench import Bench
from tests.faults.registry import PREFORK, STALL_S, Kind, scenario

# the broker gives a dead worker's messages back within the run; everywhere else the sweep alone recovers
REDELIVERED = Kind("redelivered", {"hold_s": 3, "countdown_cap_s": 2, "visibility_s": 12})


@scenario(2, "kill -9 of busy pool children", size=50, kind=PREFORK)
def busy_children(bench: Bench, size: int) -> None:
    """8 kills. Pass: ≤ 8 extra, one for each kill."""
    kills = 8
    bench.delay(0.3)
    submission = bench.submit(size, stall_s=STALL_S)
    for share in sorted(bench.rng.uniform(0.02, 0.75) for _ in range(kills)):
        bench.until(
            lambda now, s=share: now.share > s and now.in_flight >= bench.settings.model_slots, submission
        )
        bench.kill_child(bench.rng.choice(bench.children(bench.rng.choice(bench.workers))))
    bench.finish(submission, allowed=kills)


@scenario(3, "kill -9 of a whole worker", size=50, variant="threads")
def whole_worker(bench: Bench, size: int) -> None:
    """3 kills while another worker runs. Pass: ≤ 3 × slots extra. (gevent is no dependency: not tried.)

    The visibility timeout is longer than the scenario: the sweep alone recovers.
    """
    kills = 3
    bench.delay(0.3)
    submission = bench.submit(size, stall_s=STALL_S)
    for share in sorted(bench.rng.uniform(0.02, 0.75) for _ in range(kills)):
        bench.until(lambda now, s=share: now.share > s and now.in_flight >= 4, submission)
        bench.kill(bench.rng.choice(bench.workers))
    bench.finish(submission, allowed=kills * bench.settings.model_slots)


scenario(3, "kill -9 of a whole worker", size=50, kind=PREFORK, variant="prefork")(whole_worker)
scenario(3, "the same, visibility 12 s", size=50, kind=REDELIVERED, variant="redelivered")(whole_worker)


@scenario(4, "death around the sending and the count of a chord", size=20, kind=PREFORK, variant="prefork")
def before_counting(bench: Bench, size: int) -> None:
    """The dispatcher dies after a consultation is stored as dispatched and before its messages are sent. A
    pool child dies after its answer is stored and before the chord counts it, and before the chord's body is
    published, twice each. Pass: 0 extra."""
    _die_around_the_count(bench, size, allowed=0)


@scenario(4, "death around the sending and the count of a chord", size=20, variant="threads")
def before_counting_in_threads(bench: Bench, size: int) -> None:
    """The same of a whole worker with threads. Pass: ≤ one extra for each other thread."""
    _die_around_the_count(bench, size, allowed=4 * (bench.settings.model_slots - 1))


def _die_around_the_count(bench: Bench, size: int, *, allowed: int) -> None:
    deaths = 2 * ["die before counting", "die before body"]
    bench.rng.shuffle(deaths)
    shares = sorted(bench.rng.uniform(0.02, 0.6) for _ in deaths)
    bench.delay(0.1)
    bench.hooks.arm("die before messages")
    submission = bench.submit(size, stall_s=STALL_S)
    bench.wait(lambda: bench.hooks.left("die before messages") == 0, "the dispatcher's death")
    bench.fault()
    for share, death in zip(shares, deaths, strict=True):
        bench.until(lambda now, s=share: now.share > s, submission)
        bench.hooks.arm(death)
        bench.wait(lambda d=death: bench.hooks.left(d) == 0, "the death")
        bench.fault()
    bench.finish(submission, allowed=allowed)


@scenario(17, "SIGTERM under load", size=20, variant="threads")
def clean_stop(bench: Bench, size: int) -> None:
    """A worker with calls in flight is told to stop; a new one comes. Pass: 0 extra; no lease is left
    behind; gone within T + H + 10 s."""
    bench.delay(0.5)  # shorter than the grace time
    submission = bench.submit(size, stall_s=STALL_S)
    bench.until(lambda now: now.share > 0.1 and now.in_flight >= bench.settings.model_slots, submission)
    name = bench.rng.choice(bench.workers)
    pid = bench.stack.pid(name)
    [(boot,)] = bench.ask("SELECT boot_id::text FROM workers WHERE starts_with(name, %s || '@')", name)
    bench.stack.signal(name, signal.SIGTERM)
    with bench.timed(5 + bench.settings.hold_s + 10, "the old worker gone"):
        bench.wait(lambda: bench.stack.pid(name) != pid, "the old worker gone")
    bench.fault()
    left = bench.ask(
        "SELECT count(*) FROM owed_answers WHERE state = 'owed' AND claimed_until IS NOT NULL "
        "AND right(holder, 36) = %s",
        boot,
    )
    bench.expect("no lease of the old worker", left == [(0,)], left)
    bench.finish(submission)


scenario(17, "SIGTERM under load", size=20, kind=PREFORK, variant="prefork")(clean_stop)


@scenario(18, "everything, drawn", size=100, limit_s=400)
def everything(bench: Bench, size: int) -> None:
    """2 kills, 2 FLUSHALL, a killed Redis, a killed PostgreSQL, three times at other instants.

    Pass: ≤ 2 × slots extra each time.
    """
    for _ in range(3):
        faults = ["kill", "kill", "flush", "flush", "redis", "postgres"]
        bench.rng.shuffle(faults)
        shares = sorted(bench.rng.uniform(0.02, 0.75) for _ in faults)
        bench.delay(0.1)
        submission = bench.submit(size, stall_s=STALL_S)
        for share, fault in zip(shares, faults, strict=True):
            bench.until(lambda now, s=share: now.share > s, submission)
            if fault == "kill":
                bench.kill(bench.rng.choice(bench.workers))
            elif fault == "flush":
                bench.flush()
            else:
                with bench.outage(fault, 2.0):
                    pass
        bench.finish(submission, allowed=2 * bench.settings.model_slots)
