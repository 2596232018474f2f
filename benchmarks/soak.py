"""Does a set of workers grow? Many consultations through the same processes, their memory after each part.

    python benchmarks/soak.py [--size 20000] [--workers 2] [--in-flight 64] [--pool threads]

Twenty parts, one after another, an instant panel. After each: PSS of the model workers and of the dispatcher
(/proc/PID/smaps_rollup), consultations a second. The rival is the same set after a tenth of the way: memory
at the end within 10 % of that. Limits: what only comes after days (rotated keys, reconnections) is not in it.
"""

from __future__ import annotations

import argparse

from figures_set import Set, machine

PARTS, BAR = 20, 0.10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=20_000, help="consultations in all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--pool", choices=("threads", "gevent"), default="threads")
    asked = parser.parse_args()
    part = max(1, asked.size // PARTS)
    print(f"{machine()}; {part * PARTS} consultations, {asked.in_flight} in flight, {asked.pool}")
    print(f"{'so far':>8} {'workers, MiB':>14} {'dispatcher, MiB':>16} {'a second':>10}")
    memory = []
    with Set(in_flight=asked.in_flight, workers=asked.workers, pool=asked.pool) as whole:
        pids = whole.pids()
        for number in range(PARTS):
            used = whole.run(part, seed=number)
            found = (whole.memory_mib(), whole.memory_mib("dispatcher"))
            memory.append(sum(found))
            print(f"{part * (number + 1):8} {found[0]:14.1f} {found[1]:16.1f} {used.rate:10.1f}", flush=True)
        same = pids == whole.pids()
    early, late = memory[PARTS // 10 - 1], memory[-1]
    holds = "holds" if late <= (1 + BAR) * early and same else "DOES NOT HOLD"
    print(f"after a tenth {early:.1f} MiB, at the end {late:.1f} MiB: {late / early - 1:+.1%}")
    print(f"bar: at most {BAR:+.0%}, {holds}; the processes are the same: {'yes' if same else 'no'}")


if __name__ == "__main__":
    main()
