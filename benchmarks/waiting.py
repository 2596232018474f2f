"""How near waiting on models comes to the ideal: calls of 1 s, 200 at once.

    python benchmarks/waiting.py [--runs 5] [--size 300] [--in-flight 200] [--workers 2] [--pool threads]

All consultations are accepted at once; from the nudge to the end of the last. Ideal: nine calls each, 200
in flight from the first moment to the last, nothing else taking any time: 9 · 300 · 1 s / 200 = 13.5 s. In
turns, in the same run, as named rivals: the same calls by the bare asyncio script (figures_bare.py; no
dispatch, no broker, no consensus), by the plainest Celery canvas (plain_canvas.py), and by that canvas with
the script's books (booked_canvas.py). Limits: a call's 1 s is a sleep in the panel on the same machine, which
has its part of the cores; with fewer consultations than places the ideal cannot be reached by anybody, since
the reviews wait for the answers.
"""

from __future__ import annotations

import argparse
import statistics

import booked_canvas
import plain_canvas
from figures_rivals import canvas_workers, run_bare, run_booked, run_plain
from figures_set import Set, machine, middle

BAR, AIM = 1.3, 1.1
WARM_UP = 1_000  # a seed of its own


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=300, help="consultations at once")
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pool", choices=("threads", "gevent"), default="threads")
    parser.add_argument("--delay", type=float, default=1.0, help="seconds a call")
    asked = parser.parse_args()
    ideal_s = 9 * asked.size * asked.delay / asked.in_flight
    print(f"{machine()}; {asked.size} consultations, {asked.in_flight} in flight, {asked.pool}")
    print(f"ideal {ideal_s:.1f} s")
    common = {"in_flight": asked.in_flight, "workers": asked.workers, "pool": asked.pool}
    times: dict[str, list[float]] = {"ours": [], "bare": [], "canvas": [], "booked": []}
    peaks = []
    with (
        Set(**common, delay_s=asked.delay) as ours,
        Set(**common, delay_s=asked.delay, bare=True) as servers,
        canvas_workers(servers, plain_canvas.app, asked.in_flight) as canvas_pids,
        canvas_workers(servers, booked_canvas.app, asked.in_flight) as booked_pids,
    ):
        few = min(20, asked.size)  # the first of everything
        ours.run(few)
        run_plain(servers, few, WARM_UP, canvas_pids)
        run_booked(servers, few, WARM_UP, booked_pids)
        for number in range(asked.runs):
            ours.panel("/ledger/reset", {})
            times["ours"].append(ours.run(asked.size, seed=number).seconds)
            peaks.append(ours.panel("/ledger")["peak_open"])
            times["bare"].append(run_bare(servers, asked.size, number, asked.in_flight).seconds)
            times["canvas"].append(run_plain(servers, asked.size, number, canvas_pids).seconds)
            times["booked"].append(run_booked(servers, asked.size, number, booked_pids).seconds)
    for name, seconds in times.items():
        print(f"{name:6} {middle(seconds)} s = {middle([s / ideal_s for s in seconds], '.2f')} × ideal")
    print(f"most calls open at once: {middle(peaks, '.0f')}")
    reached = statistics.median(times["ours"]) / ideal_s
    holds = "holds" if reached <= BAR else "DOES NOT HOLD"
    print(f"bar: at most {BAR} × ideal, {holds} ({reached:.2f}); aim: {AIM}")


if __name__ == "__main__":
    main()
