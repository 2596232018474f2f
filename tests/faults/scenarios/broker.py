"""The broker forgets, dies or hangs; its visibility timeout is too short; a publish fails halfway."""

from __future__ import annotations

import json
import shutil
import time
import uuid

from tests.faults.bench import Bench
from tests.faults.planted import vignettes
from tests.faults.registry import PREFORK, STALL_S, Kind, scenario

# a redelivery time that the product refuses: forced, so that every longer call or wait comes again
TOO_SHORT = Kind(
    "too short a visibility",
    {"hold_s": 3, "countdown_cap_s": 5, "model_slots": 32},
    time_scale=0.1,  # deadlines of 6 s and 18 s
    environ={"CONSILIUM_FAULTS_VISIBILITY_S": "1"},
)
ACCEPT_S = 1.0  # accepting never waits for the broker


@scenario(6, "FLUSHALL", size=50)
def flushed(bench: Bench, size: int) -> None:
    """While queued, while running, between the stages; stall time 10 min. Pass: 0 extra, and all done before
    the stall time is over: the wipe marker tells."""
    bench.delay(0.1)
    submission = bench.submit(size, stall_s=600)
    bench.until(lambda now: now.dispatched > 0, submission)
    bench.flush()
    share = bench.rng.uniform(0.1, 0.4)
    bench.until(lambda now: now.share > share and now.in_flight > 0, submission)
    bench.flush()
    bench.until(lambda now: now.generating == 0 or (now.share > 0.5 and now.reviewing > 0), submission)
    bench.flush()
    bench.finish(submission)


@scenario(7, "Redis killed, 2 s, AOF", size=50, variant="aof")
def killed_with_aof(bench: Bench, size: int) -> None:
    """Pass: 0 extra; accepting goes on and takes < 1 s, `consilium submit` ends with 0."""
    bench.delay(0.2)
    submissions = [bench.submit(size, stall_s=STALL_S)]
    share = bench.rng.uniform(0.1, 0.6)
    bench.until(lambda now: now.share > share, *submissions)
    with bench.outage("redis", 2.0):
        submissions.append(_accepted(bench))
        done = bench.cli("submit", "-", "--purpose", "demo", "--format", "json", stdin=vignettes(1)[0])
        bench.expect("exit code 0 while the broker is away", done.returncode == 0, done.returncode)
        submissions.append(uuid.UUID(json.loads(done.stdout)[0]["submission"]))
    bench.finish(*submissions)


@scenario(7, "Redis killed, 2 s, no AOF", size=50, variant="no aof")
def killed_without_aof(bench: Bench, size: int) -> None:
    """It comes back empty. Pass: 0 extra; accepting goes on and takes < 1 s."""
    bench.delay(0.2)
    submissions = [bench.submit(size, stall_s=STALL_S)]
    share = bench.rng.uniform(0.1, 0.6)
    bench.until(lambda now: now.share > share, *submissions)
    shutil.rmtree(bench.home / "redis" / "appendonlydir")
    with bench.outage("redis", 2.0):
        submissions.append(_accepted(bench))
    bench.finish(*submissions)


@scenario(7, "Redis killed, workers half busy", size=2, variant="half busy")
def killed_half_busy(bench: Bench, size: int) -> None:
    """Workers with free slots exit when Redis dies; twice. Pass: 0 extra; who exited runs again."""
    for _ in range(2):
        bench.delay(1.0)
        submission = bench.submit(size, stall_s=STALL_S)
        bench.until(lambda now: now.in_flight >= 2, submission)
        with bench.outage("redis", bench.rng.uniform(0.5, 1.5)):
            pass
        bench.finish(submission)
        bench.stack.wait_ready()


scenario(7, "Redis killed, workers half busy", size=2, kind=PREFORK, variant="half busy prefork")(
    killed_half_busy
)


@scenario(8, "Redis hangs 15 s", size=30)
def hangs(bench: Bench, size: int) -> None:
    """SIGSTOP for longer than the socket time-outs. Pass: 0 extra; accepting takes < 1 s throughout."""
    bench.delay(0.2)
    submissions = [bench.submit(size, stall_s=STALL_S)]
    share = bench.rng.uniform(0.05, 0.4)
    bench.until(lambda now: now.share > share, *submissions)
    with bench.hang("redis"):
        until = time.monotonic() + 15
        while time.monotonic() < until:
            submissions.append(_accepted(bench))
            time.sleep(2)  # the fault's own length
    bench.finish(*submissions)


@scenario(12, "publish fails after k messages", size=15)
def publish_fails(bench: Bench, size: int) -> None:
    """A third of all chords breaks after its first message, then after its second; at the first dispatch
    and inside `advance`. Pass: 0 extra."""
    for after in (1, 2):
        bench.hooks.put("publish fails after", str(after))
        bench.finish(bench.submit(size, stall_s=STALL_S / 2))
    failed = bench.hooks.told("publish failed")
    bench.fault(failed)
    bench.expect("broken publishes", failed > 0, failed)


@scenario(13, "waits longer than the visibility", size=20, kind=TOO_SHORT)
def waits_longer(bench: Bench, size: int) -> None:
    """Visibility 1 s; Retry-After 4 s is a countdown, one over the countdown limit lies in PostgreSQL.

    Pass: 0 extra although messages came again. (Scaled from 3 s, 8 s and 300 s.)
    """
    bench.hooks.put("count", "1")
    for wait_s, rows in ((4, 0), (8, 1)):
        bench.hooks.put("retry after", str(wait_s))
        bench.panel("/control/faults", {"429": 0.5})
        submission = bench.submit(size)
        bench.wait(lambda: bench.panel("/ledger")["faults"].get("429", 0) >= 5, "five 429s")
        bench.panel("/control/faults", "off")
        bench.fault(bench.panel("/ledger")["faults"]["429"])
        if rows:
            waiting = (
                "SELECT count(*) FROM owed_answers o JOIN consultations c ON c.id = o.consultation_id "
                "WHERE c.submission_id = %s AND o.not_before > now() + interval '1 s'"
            )
            bench.wait(lambda s=submission, w=waiting: bench.ask(w, s)[0][0] > 0, "a wait in PostgreSQL")
        books = bench.finish(submission)
        ran = sum(bench.hooks.told(f"ran consilium.{name}") for name in ("generate", "review"))
        bench.expect("more messages than calls", ran > books.called, f"{ran} for {books.called}")


@scenario(14, "calls longer than the visibility", size=10, kind=TOO_SHORT)
def calls_longer(bench: Bench, size: int) -> None:
    """Calls of 4 s, visibility 1 s. Pass: 0 extra although messages came again. (Scaled from 8 s and 3 s.)"""
    bench.hooks.put("count", "1")
    bench.delay(4.0)
    submission = bench.submit(size)
    books = bench.finish(submission)
    ran = sum(bench.hooks.told(f"ran consilium.{name}") for name in ("generate", "review"))
    bench.tally.faults += ran - books.called
    bench.expect("more messages than calls", ran > books.called, f"{ran} for {books.called}")


def _accepted(bench: Bench) -> uuid.UUID:
    """One vignette accepted within the time; not nudged, as the nudge waits for the broker."""
    with bench.timed(ACCEPT_S, "a vignette accepted"):
        return bench.submit(1, nudged=False)
