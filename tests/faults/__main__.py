"""`python -m tests.faults`: the scenarios one after another, then the table; exit code 1 if one failed.

Each row: consultations, faults injected, lost, double, early, overlap, extra calls (and the allowed), and
the recovery time: for each consultation in flight when a fault was over, the seconds from there to its next
stored answer (or its end); median and worst.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from tests.faults.play import Row
from tests.faults.registry import scenarios
from tests.faults.sets import Asked, at_once

SWITCHES = ("claim", "sweeper", "late-ack")
COLUMNS = "{:<20} {:<50} {:>6} {:>6} {:>4} {:>6} {:>5} {:>7} {:>11} {:>7} {:>7}  {}"


def table(rows: Sequence[Row]) -> str:
    """The table, with what failed below it and the sum in its last line."""
    head = ("scenario", "", "consul", "faults", "lost", "double", "early", "overlap", "extra")
    lines = [COLUMNS.format(*head, "median", "worst", "").rstrip()]
    for row in rows:
        t = row.tally
        times = sorted(t.recovery_s)
        shown = (f"{statistics.median(times):.1f} s", f"{times[-1]:.1f} s") if times else ("–", "–")
        numbers = (t.consultations, t.faults, t.lost, t.double, t.early, t.overlap)
        extra = f"{t.extra} (≤ {t.allowed})"
        verdict = "FAILED" if row.problem else f"skipped: {row.skipped}" if row.skipped else ""
        verdict = verdict or ("second try" if row.first else "")
        lines.append(
            COLUMNS.format(row.scenario.key, row.scenario.name, *numbers, extra, *shown, verdict).rstrip()
        )
    lines += [f"{row.scenario.key}, first try: {row.first}" for row in rows if row.first]
    lines += [f"{row.scenario.key} FAILED: {row.problem}" for row in rows if row.problem]
    sums = {
        name: sum(getattr(row.tally, name) for row in rows)
        for name in ("consultations", "lost", "double", "early", "overlap")
    }
    numbers = len({row.scenario.number for row in rows})
    lines.append(
        f"faults: {numbers} scenarios, {sums['consultations']} consultations, {sums['lost']} lost, "
        f"{sums['double']} double, {sums['early']} early, {sums['overlap']} overlap"
    )
    return "\n".join(lines)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.replace(" ", "").split(",") if word]


def _switches(text: str) -> frozenset[str]:
    words = frozenset(filter(None, text.split(",")))
    if unknown := words - set(SWITCHES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: known are {', '.join(SWITCHES)}")
    return words


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="The fault suite.")
    parser.add_argument("--scenario", type=_numbers, default=[], help="numbers with commas; default: all")
    parser.add_argument("--size", type=int, help="consultations, instead of each scenario's own")
    parser.add_argument("--seed", type=int, help="of all draws; default: random, and printed")
    parser.add_argument("--without", type=_switches, default=frozenset(), help="claim, sweeper, late-ack")
    parser.add_argument("--limit", type=float, help="seconds for each scenario, instead of its own")
    parser.add_argument(
        "--again",
        action="store_true",
        help="on a busy machine: a scenario that failed runs once more, and it is said",
    )
    parser.add_argument("--jobs", type=int, default=2, help="sets that run at once; default: 2")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the sets, with their logs")
    options = parser.parse_args()
    seed = secrets.randbelow(10**9) if options.seed is None else options.seed
    wanted = [each for each in scenarios() if not options.scenario or each.number in options.scenario]
    missing = set(options.scenario) - {each.number for each in wanted}
    if missing:
        parser.error(f"no scenario {', '.join(map(str, sorted(missing)))}")
    off = f", without {', '.join(sorted(options.without))}" if options.without else ""
    print(f"faults: seed {seed}{off}", flush=True)
    began = time.monotonic()
    asked = Asked(seed, options.without, options.size, options.limit, options.keep)
    rows = at_once(wanted, asked, jobs=options.jobs)
    if options.again and (failed := [row for row in rows if row.problem]):
        print(
            f"once more, each on a set of its own: {', '.join(row.scenario.key for row in failed)}",
            flush=True,
        )
        second = {
            row.scenario.key: replace(row, first=first.problem)
            for first in failed
            for row in at_once([first.scenario], replace(asked, seed=seed + 1), jobs=1)
        }
        rows = [second.get(row.scenario.key, row) for row in rows]
    print(f"\n{len(rows)} rows in {time.monotonic() - began:.0f} s, seed {seed}{off}\n")
    print(table(rows))
    return int(any(row.problem for row in rows))


if __name__ == "__main__":
    sys.exit(main())
