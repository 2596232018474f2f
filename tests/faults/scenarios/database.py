"""PostgreSQL goes away while answers that were paid for are in hand."""

from __future__ import annotations

import contextlib

from tests.faults.bench import Bench
from tests.faults.person import typing
from tests.faults.planted import vignettes
from tests.faults.registry import STALL_S, scenario

STORED = """
    SELECT (SELECT count(*) FROM submissions), (SELECT count(*) FROM records),
           (SELECT count(*) FROM data_keys), (SELECT count(*) FROM consultations)
"""


@scenario(9, "PostgreSQL killed, 3 s", size=50)
def killed(bench: Bench, size: int) -> None:
    """Mid-generate and mid-review, with SIGKILL of the whole server (harder than SIGQUIT).

    Pass: 0 extra, for a paid answer is held in hand; while it is down `consilium submit` refuses (exit code
    7, the later 503) and nothing is half-stored.
    """
    bench.delay(0.2)
    with contextlib.ExitStack() as stack:
        people = [stack.enter_context(typing(bench, "submit", "-", "--purpose", "demo")) for _ in range(2)]
        submission = bench.submit(size, stall_s=STALL_S)
        before = bench.ask(STORED)
        early, late = bench.rng.uniform(0.05, 0.25), bench.rng.uniform(0.35, 0.6)
        for person, share, stage in zip(people, (early, late), ("generating", "reviewing"), strict=True):
            bench.until(lambda now, s=share, g=stage: now.share > s and getattr(now, g) > 0, submission)
            with bench.outage("postgres", 3.0):
                person.communicate(vignettes(1)[0], timeout=30)
            bench.expect("exit code 7 while it is away", person.returncode == 7, person.returncode)
            bench.expect("nothing stored of what was refused", bench.ask(STORED) == before)
    bench.finish(submission)
