"""How much memory it takes to hold 2,000 calls of 20 s at once, and whether anything is lost.

    python benchmarks/in_flight.py [--calls 2000] [--workers 2] [--pool threads] [--delay 20] [--runs 1]

So many consultations are accepted that their first answers are that many calls; while all of them are open
(the panel counts), the memory of the workers that hold them is read as PSS (/proc/PID/smaps_rollup: what
processes share is divided among them), that of the dispatcher and the workers kept free for urgent and
quarantined work apart. Beside it, the named rival in the same run: the same workers idle, before the first
call. Then the panel answers at once, everything is let run to its end, and the books are closed: every
consultation ended whole, every call answered once, none left, none twice at a time. Limits: simulated answers
of some 2 kB; real ones of 20 kB would add their own size per call in flight while they are read.
"""

from __future__ import annotations

import argparse
import time

import psycopg
from figures_set import Set, machine, middle

from producers.nudge import nudge

AIM_MIB = 250

BOOKS = """
    SELECT (SELECT count(*) FROM consultations WHERE state NOT IN ('completed', 'needs_review')),
           (SELECT count(*) FROM model_calls WHERE outcome IS DISTINCT FROM 'answered'),
           (SELECT count(*) FROM model_calls)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--calls", type=int, default=2_000, help="held at once")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pool", choices=("threads", "gevent"), default="threads")
    parser.add_argument("--delay", type=float, default=20.0, help="seconds a call")
    asked = parser.parse_args()
    print(f"{machine()}; {asked.calls} calls of {asked.delay:g} s, {asked.workers} workers, {asked.pool}")
    found = [_run(asked) for _ in range(asked.runs)]
    idle, held, others, peak, bad = zip(*found, strict=True)
    print(f"memory of the model workers, PSS: idle {middle(idle, '.0f')} MiB, held {middle(held, '.0f')} MiB")
    print(f"of the others: {middle(others, '.0f')} MiB")
    per_call = [1024 * (h - i) / p for i, h, _, p, _ in found]
    print(f"most calls open at once {min(peak)}; {middle(per_call, '.0f')} KiB a call")
    print(f"lost, left, doubled or not answered: {max(bad)}; bar: 0, {'holds' if not max(bad) else 'BROKEN'}")
    print(f"aim: {AIM_MIB} MiB, {'reached' if max(held) <= AIM_MIB else 'not reached'}")


def _run(asked: argparse.Namespace) -> tuple[float, float, float, int, int]:
    """Memory idle, held, of the others (MiB), most calls open, and how much is not in order."""
    count = -(-asked.calls // 3)
    with Set(in_flight=asked.calls, workers=asked.workers, pool=asked.pool, delay_s=0) as ours:
        ours.run(12)  # the first of everything
        ours.panel("/ledger/reset", {})
        ours.panel("/control/delay", {"seconds": asked.delay})
        idle = ours.memory_mib()
        submission = ours.submit(count)
        nudge(ours.settings)
        until, best, held = time.monotonic() + asked.delay + 60, 0, idle
        while time.monotonic() < until:
            opened = ours.panel("/ledger")["open"]
            if opened < best:  # the first are answered: no more will be open at once
                break
            if opened > best:
                best, held = opened, max(held, ours.memory_mib())
            time.sleep(0.2)
        ours.panel("/control/delay", {"seconds": 0})
        ours.wait(submission)
        ledger = ours.panel("/ledger")
        with psycopg.connect(ours.url) as connection:
            [(unended, unanswered, calls)] = connection.execute(BOOKS).fetchall()
        models = ledger["models"].values()
        twice = sum(model["left"] + model["overlaps"] + model["errors"] for model in models)
        missing = abs(ledger["total"] - 9 * count) + abs(calls - 9 * (count + 12))
        others = ours.memory_mib("other workers") + ours.memory_mib("dispatcher")
        return idle, held, others, ledger["peak_open"], unended + unanswered + twice + missing


if __name__ == "__main__":
    main()
