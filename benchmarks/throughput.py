"""How many consultations a second, at what cost, against the least that the same work could take.

    python benchmarks/throughput.py [--runs 5] [--size 300] [--in-flight 200] [--workers 2] [--pool threads]

A consultation is three answers and six reviews: nine calls, each with its claim, its stored raw answer, its
parsing and its booking, then the consensus. The panel answers at once. Counted from the nudge, when all
vignettes are accepted, to the end of the last consultation. In the same run, in turns:

    watched      the same set of processes with task events and Flower on
    bare         the same nine calls, claim, parsing and booking in one asyncio script (figures_bare.py)
    canvas       the plainest Celery canvas of nine calls and rows (plain_canvas.py): two workers of threads
    booked       that canvas with bare's claim, parsing and booking (booked_canvas.py)

CPU from /proc: of our processes alone; that of servers and panel stands apart, and also takes of the same
cores. WAL and Redis bytes are the servers' own counts. The first run of each is left out. Limits: everything
on one machine, so the panel and PostgreSQL take a share that they would not elsewhere; the bare script is one
process, so it uses one core; sets that wait for their turn use a little (beat, heartbeats, Flower).
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import booked_canvas
import plain_canvas
import psycopg
from figures_rivals import canvas_workers, run_bare, run_booked, run_plain
from figures_set import OURS, Set, Used, machine, middle

HERE = Path(__file__).parent
BARS = {"bare": 0.25, "canvas": 1.0}
AIM_MS = 32

# Rows that were written and how. Of the updates of owed answers, the last of each (it leaves the partial
# index of those owed) can never be HOT; the others, the claim and the stored raw answer, should be.
ROWS = """
    SELECT sum(n_tup_ins), sum(n_tup_upd),
           sum(n_tup_hot_upd) FILTER (WHERE relname = 'owed_answers')::float
             / (sum(n_tup_upd) FILTER (WHERE relname = 'owed_answers')
                - (SELECT count(*) FROM owed_answers WHERE state = 'answered'))
    FROM pg_stat_user_tables
"""
STATISTICS_S = 11  # an idle backend tells its counts after 10 s (PGSTAT_IDLE_INTERVAL)


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    print(f"{machine()}; {asked.size} consultations a run, {asked.in_flight} in flight, {asked.pool}")
    common = {"in_flight": asked.in_flight, "workers": asked.workers, "pool": asked.pool}
    with (
        Set(**common) as ours,
        Set(**common, events=True) as watched,
        Set(**common, bare=True) as servers,
        canvas_workers(servers, plain_canvas.app, asked.in_flight) as canvas_pids,
        canvas_workers(servers, booked_canvas.app, asked.in_flight) as booked_pids,
    ):
        used: dict[str, list[Used]] = {name: [] for name in ("ours", "watched", "bare", "canvas", "booked")}
        for number in range(asked.runs + 1):
            found = {
                "ours": ours.run(asked.size, seed=number),
                "watched": watched.run(asked.size, seed=number),
                "bare": run_bare(servers, asked.size, number, asked.in_flight),
                "canvas": run_plain(servers, asked.size, number, canvas_pids),
                "booked": run_booked(servers, asked.size, number, booked_pids),
            }
            if number:  # the first warms up
                for name, each in found.items():
                    used[name].append(each)
        consultations = asked.size * (asked.runs + 1)
        time.sleep(STATISTICS_S)
        with psycopg.connect(ours.url) as connection:
            [(inserted, updated, hot)] = connection.execute(ROWS).fetchall()
    _print(used)
    print(
        f"\nrows a consultation: {inserted / consultations:.0f} inserted, {updated / consultations:.0f} "
        f"updated; of claims and stored raw answers {hot:.1%} HOT"
    )
    _ratios(used)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=300, help="consultations a run")
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2, help="processes of model workers")
    parser.add_argument("--pool", choices=("threads", "gevent"), default="threads")
    return parser.parse_args()


def _print(used: dict[str, list[Used]]) -> None:
    kinds = (*OURS, "postgres", "redis", "panel")
    print(f"\nmedian (range) of {len(used['ours'])} runs; CPU in ms a consultation")
    print(f"{'':22}" + "".join(f"{name:>24}" for name in used))

    def row(name: str, values: dict[str, str]) -> None:
        print(f"{name:22}" + "".join(f"{values[each]:>24}" for each in used))

    row("consultations/s", {n: middle([u.rate for u in all_]) for n, all_ in used.items()})
    row("CPU, ours in all", {n: middle([u.cpu_ms(*OURS) for u in all_]) for n, all_ in used.items()})
    for kind in kinds:
        row(f"  {kind}", {n: middle([u.cpu_ms(kind) for u in all_]) for n, all_ in used.items()})
    for what, name in (("kB through Redis", "redis_bytes"), ("kB of WAL", "wal_bytes")):
        row(
            what,
            {
                n: middle([getattr(u, name) / u.consultations / 1000 for u in all_])
                for n, all_ in used.items()
            },
        )


def _ratios(used: dict[str, list[Used]]) -> None:
    for rival, bar in BARS.items():
        ratios = _rates(used, "ours", rival)
        holds = "holds" if statistics.median(ratios) >= bar else "DOES NOT HOLD"
        print(f"ours / {rival:8} {middle(ratios, '.2f')}   bar: at least {bar:g}, {holds}")
    for name, rival in (("ours", "booked"), ("booked", "canvas")):
        print(f"{name} / {rival}".ljust(16) + middle(_rates(used, name, rival), ".2f"))
    cost = [
        (b.cpu_ms(*OURS) - a.cpu_ms(*OURS), 1 - b.rate / a.rate)
        for a, b in zip(used["ours"], used["watched"], strict=True)
    ]
    print(
        f"task events and Flower cost {middle([c for c, _ in cost])} ms a consultation and "
        f"{middle([100 * r for _, r in cost])} % of the rate"
    )
    ours = [u.cpu_ms(*OURS) for u in used["ours"]]
    print(f"CPU {middle(ours)} ms a consultation; aim: {AIM_MS}")


def _rates(used: dict[str, list[Used]], name: str, rival: str) -> list[float]:
    return [a.rate / b.rate for a, b in zip(used[name], used[rival], strict=True)]


if __name__ == "__main__":
    main()
