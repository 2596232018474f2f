"""Playing scenarios on their sets: one after another, or several sets at once, each in a process of its own.

What measures a rate does not run beside what keeps the processors busy. `python -m tests.faults.sets` is one
such process: what it is asked comes in on standard input, its rows go out as lines of JSON between what it
tells.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from tests.faults.bench import Bench
from tests.faults.books import Tally
from tests.faults.play import Row, play
from tests.faults.registry import Kind, Scenario, scenarios

ROW = "row "


@dataclass(frozen=True)
class Asked:
    """How all scenarios of a run are played."""

    seed: int
    without: frozenset[str] = frozenset()
    size: int | None = None
    limit_s: float | None = None
    keep: bool = False


def at_once(wanted: Sequence[Scenario], asked: Asked, *, jobs: int) -> list[Row]:
    """All of them, so many sets at a time; the longest first. Rows come by number."""
    kinds = {each.kind.name: each.kind for each in wanted}
    sets = [[each for each in wanted if each.kind is kind] for kind in kinds.values()]
    sets.sort(key=lambda one: -sum(each.limit_s for each in one))
    rows: list[Row] = []
    for beside, most in (("any", jobs), ("paced", jobs), ("nothing", 1)):
        these = [one for one in sets if one[0].kind.beside == beside]
        if most == 1 or len(these) == 1:
            for one in these:
                rows += _one_set(one, asked)
        else:
            with ThreadPoolExecutor(most) as pool:
                for some in pool.map(lambda one: _in_a_process(one, asked), these):
                    rows += some
    return sorted(rows, key=lambda row: (row.scenario.number, row.scenario.variant))


def _one_set(wanted: Sequence[Scenario], asked: Asked) -> Iterable[Row]:
    """Scenarios of one kind share a set; after one that failed the next gets a new one."""
    todo, kind = list(wanted), wanted[0].kind
    while todo:
        began = time.monotonic()
        with Bench(kind, seed=asked.seed, without=asked.without, keep=asked.keep) as bench:
            _tell(kind, f"runs after {time.monotonic() - began:.0f} s")
            while todo:
                each = todo.pop(0)
                _tell(kind, f"{each.key}: {each.name} …")
                row = play(bench, each, size=asked.size, limit_s=asked.limit_s)
                said = f"FAILED: {row.problem}" if row.problem else "passed"
                said = f"skipped: {row.skipped}" if row.skipped else said
                _tell(kind, f"{each.key}: {said} ({row.seconds:.0f} s)")
                yield row
                if row.problem:
                    logs = tempfile.mkdtemp(prefix=f"consilium-faults-{kind.name}-logs-")
                    shutil.copytree(bench.home / "logs", logs, dirs_exist_ok=True)
                    _tell(kind, f"logs: {logs}")
                    break


def _tell(kind: Kind, what: str) -> None:
    print(f"  [{kind.name}] {what}", flush=True)


def _in_a_process(wanted: Sequence[Scenario], asked: Asked) -> list[Row]:
    """One set in a process of its own. A process that dies is a scenario that failed, and is told."""
    known = {each.key: each for each in wanted}
    order = {**asdict(asked), "without": sorted(asked.without), "keys": list(known)}
    rows = {}
    with subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(order))
        child.stdin.close()
        for line in child.stdout:
            if line.startswith(ROW):
                row = json.loads(line.removeprefix(ROW))
                key = row.pop("key")
                rows[key] = Row(scenario=known[key], tally=Tally(**row.pop("tally")), **row)
            else:
                print(line, end="", flush=True)
    for key in known.keys() - rows.keys():
        rows[key] = Row(known[key], Tally(), 0.0, f"its process ended with code {child.returncode}")
    return list(rows.values())


def main() -> None:
    """One set, as standard input asks."""
    order = json.load(sys.stdin)
    keys = order.pop("keys")
    asked = Asked(**{**order, "without": frozenset(order["without"])})
    for row in _one_set([each for each in scenarios() if each.key in keys], asked):
        told = {"key": row.scenario.key, "tally": asdict(row.tally)}
        told |= {name: getattr(row, name) for name in ("seconds", "problem", "skipped", "first")}
        print(ROW + json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
