"""The flow itself: nothing breaks, every message comes twice, an eager sweep, a backlog."""

from __future__ import annotations

import time
from contextlib import suppress

from tests.faults.bench import Bench, Failed
from tests.faults.registry import Kind, scenario

ONE_WORKER = Kind("one worker", workers=1)
FLAGS = 3
FLAG = """
    UPDATE consultations SET flagged = true, next_resume_at = now()
    WHERE submission_id = %s AND state = 'open' AND dispatched_at IS NOT NULL RETURNING id
"""


@scenario(1, "no fault", size=100)
def no_fault(bench: Bench, size: int) -> None:
    """Pass: 0 extra calls, 0 resumes."""
    books = bench.finish(bench.submit(size))
    bench.expect("9 calls each", books.called == 9 * size, books.called)
    bench.expect("0 resumes", books.resumes == 0, books.resumes)


@scenario(5, "every message twice", size=50)
def every_message_twice(bench: Bench, size: int) -> None:
    """Each message of a canvas is published twice. Pass: 0 extra; copies of `conclude` ran."""
    bench.hooks.put("twice", "1")
    bench.hooks.put("count", "1")
    bench.delay(0.1)
    submission = bench.submit(size)
    bench.finish(submission)
    # two to eleven copies per message, each a fault
    ran = bench.hooks.told("ran consilium.conclude")
    bench.tally.faults += (
        sum(bench.hooks.told(f"ran consilium.{n}") for n in ("generate", "review")) - 9 * size
    )
    bench.expect(f"more than {size} runs of conclude", ran > size, ran)


@scenario(15, "eager sweeps, two at once", size=30)
def eager(bench: Bench, size: int) -> None:
    """Stall time 0.5 s with calls of 1 s, two sweeps at once. Pass: 0 extra, ≤ 8 resumes a consultation.

    What is under work or in a queue does not look stalled even so: all is flagged by hand as well.
    """
    bench.delay(1.0)
    submission = bench.submit(size, stall_s=0.5)
    sweeps = 0
    while bench.now(submission).unfinished:
        if sweeps % 8 == 0 and sweeps < 8 * FLAGS:
            bench.ask(FLAG, submission)
        for _ in range(2):
            bench.send("consilium.resume_stalled")
        sweeps += 2
        with suppress(Failed):
            bench.until(lambda now: now.unfinished == 0, submission, within_s=0.25)
    bench.fault(sweeps)
    bench.finish(submission)
    [(most, all_)] = bench.ask(
        "SELECT max(resumes), sum(resumes) FROM consultations WHERE submission_id = %s", submission
    )
    bench.expect("resumes", all_ > 0, all_)
    bench.expect("at most 8 resumes of each", most <= 8, most)


@scenario(16, "backlog longer than the stall time", size=200, kind=ONE_WORKER, limit_s=240)
def backlog(bench: Bench, size: int) -> None:
    """One worker, and the last wait for longer than the stall time. Pass: 0 extra, 0 resumes."""
    bench.delay(0.1)
    began = time.monotonic()
    submission = bench.submit(size, stall_s=5)
    books = bench.finish(submission)
    took = time.monotonic() - began
    bench.expect("a backlog longer than the stall time of 5 s", took > 5, f"{took:.1f} s")
    bench.expect("0 resumes", books.resumes == 0, books.resumes)
