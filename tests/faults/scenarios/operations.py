"""Scenarios 24 to 27 and 29: killed workers, full disks, two beats, no workers, and a restored database.

Scaled: an hour is 8 s, a minute is 6 s here.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from embedded.fork_server import PYTHON_M
from producers.cli.stack import commands
from shared.broker import MESSAGE_VERSION
from tests.faults.bench import Bench, Failed, vignettes
from tests.faults.disk import CannotMount, SmallDisk
from tests.faults.planted import planted
from tests.faults.registry import Kind, Skipped, scenario
from tests.faults.restore import base_backup, restore

HOUR_S, MINUTE_S = 8.0, 6.0
KILL_EVERY_S = 3.0
PERIOD_S = 2  # of the job that is looked at

OPERATED = Kind(
    "operated", {"hold_s": 3, "heartbeat_stale_s": 3, "recompute_every_s": PERIOD_S, "model_slots": 32}
)
# a set of its own: it is by far the longest
KILLED = replace(OPERATED, name="killed")

HELD = "SELECT count(*) FROM consultations WHERE submission_id = %s AND held = %s"


@scenario(24, "kill -9 of a random worker every 3 s", size=1000, kind=KILLED, limit_s=1800)
def killed_workers(bench: Bench, size: int) -> None:
    """0 lost, 0 doubled; extra calls at most those that the killed had in flight."""
    bench.delay(0.3)
    submission = bench.submit(size)
    names = [*bench.workers, "urgent", "conclude", "quarantine"]
    in_flight = 0
    while not bench.late() and not _ended(bench, submission, KILL_EVERY_S):
        in_flight += _kill(bench, bench.rng.choice(names))
    bench.finish(submission, allowed=in_flight)


IN_FLIGHT = """
    SELECT count(*) FROM owed_answers
    WHERE state = 'owed' AND claimed_until > now() AND starts_with(holder, %s || '@')
"""


def _kill(bench: Bench, name: str, *, down_s: float = 0.0) -> int:
    """SIGKILL a worker, stopped first so that it is exact how many calls it had in flight: that many."""
    bench.stack.signal(name, signal.SIGSTOP)
    [(held,)] = bench.ask(IN_FLIGHT, name)
    bench.stack.kill(name, down_s=down_s)
    bench.fault()
    return int(held)


def _ended(bench: Bench, submission: uuid.UUID, within_s: float) -> bool:
    """Whether all have ended before that time is over."""
    try:
        bench.until(lambda now: now.unfinished == 0, submission, within_s=within_s)
    except Failed:
        return False
    return True


# a worker may be left without a consumer by a broker that refuses to write: its watchdog ends it after this
SMALL_DISKS = Kind("small disks", {"hold_s": 15, "idle_s": 2 * MINUTE_S})
FULL_S = 5.0
BATCHES = (1_000, 2)  # more than PostgreSQL has room for; Redis holds no batch
STORED = """
    SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM consultations),
           (SELECT count(*) FROM clinical_documents WHERE kind IN ('vignette', 'set_aside'))
"""


@scenario(25, "disk full: PostgreSQL, then Redis", size=24, kind=SMALL_DISKS, limit_s=240)
def full_disks(bench: Bench, size: int) -> None:
    """Accepting is refused with exit code 7 and nothing half-stored, or all is stored; later all goes on."""
    with contextlib.ExitStack() as mounted:
        try:
            disks = [mounted.enter_context(SmallDisk(bench.stack, name)) for name in ("postgres", "redis")]
        except CannotMount as reason:
            raise Skipped(str(reason)) from None
        for disk, batch in zip(disks, BATCHES, strict=True):
            _full(bench, disk, size, batch)
        found = planted(bench.broker(), bench.home)
        bench.expect("the planted word nowhere outside PostgreSQL", not found, found)


def _full(bench: Bench, disk: SmallDisk, size: int, batch: int) -> None:
    [(began,)] = bench.ask("SELECT now()")
    bench.delay(0.3)
    submission = bench.submit(size)
    bench.until(lambda now: now.share > 0.2, submission, what="a fifth of it")
    before = bench.ask(STORED)
    disk.fill(leave_mb=1)  # for the beginning of the batch
    lines = b"\n".join(vignettes(batch))
    submitted = bench.cli("submit", "-", "--purpose", "evaluation", stdin=lines)
    bench.expect("exit code 0 or 7", submitted.returncode in (0, 7), submitted.stderr.decode()[-500:])
    disk.fill()
    threading.Event().wait(FULL_S)
    disk.empty()
    bench.stack.wait_ready()
    bench.fault()
    stored = batch if submitted.returncode == 0 else 0
    bench.wait(lambda: bool(bench.ask(STORED)), "PostgreSQL again")
    after, whole = bench.ask(STORED), [tuple(count + stored for count in before[0])]
    bench.expect("all stored or nothing", after == whole, (submitted.returncode, before, after))
    mine = bench.ask("SELECT id FROM submissions WHERE received_at >= %s", began)
    bench.finish(*(id_ for (id_,) in mine))


# Periods of the job that were begun since, in order.
PERIODS = """
    SELECT period FROM periodic_runs WHERE job = 'recompute_reviewers' AND started_at >= %s ORDER BY period
"""


@scenario(26, "two beats; beat killed for two periods", size=6, kind=OPERATED)
def beats(bench: Bench, size: int) -> None:
    """With two beats one run a period; after an outage of two periods one run catches up."""
    submission = bench.submit(size)
    with _second_beat(bench):
        bench.hooks.clear()
        bench.hooks.put("count", "1")
        [(began,)] = bench.ask("SELECT now()")
        threading.Event().wait(5 * PERIOD_S)
        bench.fault()
        sweeps = bench.hooks.told("ran consilium.resume_stalled")
    one_beat = 5 * PERIOD_S / bench.settings.sweep_every_s
    bench.expect(f"the sweeps of two beats, each {one_beat:g}", sweeps > 1.4 * one_beat, sweeps)
    bench.expect("no period left out", not any(_left_out(bench, began)), _left_out(bench, began))

    bench.stack.kill("beat", down_s=2 * PERIOD_S + 1)
    before = len(bench.ask(PERIODS, began))
    bench.stack.wait_ready(["beat"])
    bench.fault()
    bench.wait(lambda: len(bench.ask(PERIODS, began)) >= before + 3, "runs after the outage")
    outages = [gap for gap in _left_out(bench, began) if gap]
    bench.expect("one gap, of a period at least", len(outages) == 1, outages)
    runs, periods = bench.hooks.told("recomputed"), len(bench.ask(PERIODS, began))
    # one may have been begun before they were counted, or be about to be
    bench.expect(f"one run for each of {periods} periods", abs(runs - periods) <= 1, runs)
    bench.finish(submission)


def _left_out(bench: Bench, since: datetime) -> list[int]:
    """How many periods were left out between each run and the next."""
    periods = [period for (period,) in bench.ask(PERIODS, since)]
    return [later - earlier - 1 for earlier, later in itertools.pairwise(periods)]


@contextlib.contextmanager
def _second_beat(bench: Bench) -> Iterator[None]:
    """Another beat process, started by the command line of the first."""
    with tempfile.TemporaryDirectory() as folder:
        lines = commands(
            Path(folder),
            workers=1,
            model_slots=1,
            flower_port=1,
            metrics_port=1,
            api_port=1,
            app="tests.faults.app",
        )
        argv, ready = lines["beat"]
        second = subprocess.Popen(
            [*PYTHON_M, *argv],
            env=bench.stack.environ,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert second.stdout is not None
        while ready not in (line := second.stdout.readline()):
            bench.expect("a second beat", bool(line), "its end")
        try:
            yield
        finally:
            second.terminate()
            second.communicate()


@scenario(27, "all workers away for 3 scaled hours", size=500, kind=OPERATED, limit_s=400)
def all_workers_away(bench: Bench, size: int) -> None:
    """Held as `no workers`; when they are back all go on by themselves, 0 fail and none is paid again."""
    bench.delay(0.1)
    submission = bench.submit(size)
    bench.until(lambda now: now.share > 0.1, submission, what="a tenth of it")
    in_flight, away_s = 0, 3 * HOUR_S
    for name in (*bench.workers, "urgent", "quarantine"):
        in_flight += _kill(bench, name, down_s=away_s)
    bench.stack.kill("conclude", down_s=HOUR_S)  # it is what notices: away for the first hour alone
    bench.wait(lambda: bench.ask(HELD, submission, "no workers")[0][0] > 0, "`held: no workers`")
    shown = bench.cli("status").stdout.decode()
    bench.expect("`no workers` in `consilium status`", "no workers" in shown, shown)
    bench.stack.wait_ready()
    bench.fault()
    bench.finish(submission, allowed=in_flight)
    [(requeues,)] = bench.ask("SELECT sum(requeues) FROM consultations WHERE submission_id = %s", submission)
    bench.expect("nothing requeued by hand", requeues == 0, requeues)


# Every event that was delivered, with what it was about.
DELIVERED = """
    SELECT event_id, type || ' ' || submission_id || ' ' || coalesce(consultation_id::text, '-')
    FROM outbox_events WHERE delivered_at IS NOT NULL
"""
IDS_AHEAD = 40  # after a crash PostgreSQL skips 32 numbers of a sequence: more must have been told before
OPEN = "SELECT count(*) FROM consultations WHERE state = 'open'"
ENDED_WRONG = """
    SELECT count(*) FROM consultations c WHERE 1 <> (
        SELECT count(*) FROM outbox_events e
        WHERE e.consultation_id = c.id AND e.type <> 'submission.finished')
"""


@scenario(29, "restore of a base backup a scaled minute old", size=60, kind=OPERATED, limit_s=120)
def restored(bench: Bench, size: int) -> None:
    """Unknown ids are acknowledged and counted; what is lost is what comes again; no event id twice."""
    bench.delay(0.1)
    early = bench.submit(size // 2)
    bench.until(lambda now: now.open < size // 2, early, what="the first end")
    backup, delivered = bench.home / "backup", len(bench.ask(DELIVERED))
    base_backup(bench.stack, backup)
    batch = b"\n".join(vignettes(size // 2))
    key = ("--idempotency-key", "again", "--purpose", "evaluation")
    bench.expect("accepted", bench.cli("submit", "-", *key, stdin=batch).returncode == 0)
    threading.Event().wait(MINUTE_S)
    bench.wait(lambda: len(bench.ask(DELIVERED)) >= delivered + IDS_AHEAD, "events after the backup")
    before = dict(bench.ask(DELIVERED))
    [(known,)] = bench.ask("SELECT count(*) FROM consultations")
    restore(bench.stack, backup)
    bench.fault()
    [(left,)] = bench.ask("SELECT count(*) FROM consultations")
    bench.expect("the batch after the backup to be lost", known - left == size // 2, known - left)
    again = bench.cli("submit", "-", *key, stdin=batch)
    bench.expect("it to be accepted again", again.returncode == 0, again.stderr.decode()[-300:])
    bench.wait(lambda: bench.ask(OPEN)[0][0] == 0, "the end of all")
    bench.wait(lambda: bench.broker().llen("remote") + bench.broker().llen("conclude") == 0, "empty queues")
    [(wrong,)] = bench.ask(ENDED_WRONG)
    bench.expect("one event for each end", wrong == 0, wrong)
    after = dict(bench.ask(DELIVERED))
    twice = [id_ for id_, what in after.items() if before.get(id_, what) != what]
    # what only the broker still knows of is acknowledged, and kept where it is counted
    forgotten = str(uuid.uuid4())
    bench.send("consilium.generate", MESSAGE_VERSION, forgotten, queue="remote")
    parked = "SELECT count(*) FROM parked_messages WHERE about = %s"
    bench.wait(lambda: bench.ask(parked, forgotten)[0][0] == 1, "the message about it to be parked")
    [(unfinished,)] = bench.ask(OPEN)
    bench.tally.consultations, bench.tally.lost = size, unfinished
    bench.expect("no id for two events", not twice, f"{len(twice)} ids")
