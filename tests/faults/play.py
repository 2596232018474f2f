"""One scenario on a running set: begun, run, searched for the planted word, and what it came to."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass

from tests.faults.bench import Bench, Failed
from tests.faults.books import Tally
from tests.faults.planted import planted
from tests.faults.registry import Scenario, Skipped


@dataclass(frozen=True)
class Row:
    """What one scenario came to; `problem` is empty where it passed."""

    scenario: Scenario
    tally: Tally
    seconds: float
    problem: str
    skipped: str = ""
    first: str = ""  # the problem of a first try


def play(bench: Bench, each: Scenario, *, size: int | None = None, limit_s: float | None = None) -> Row:
    """Run one scenario on a running set."""
    began = time.monotonic()
    problem = skipped = ""
    try:
        bench.begin(limit_s=limit_s or each.limit_s, what=each.key)
        each.run(bench, size or each.size)
        found = planted(bench.broker(), bench.home)
        bench.expect("the planted word nowhere outside PostgreSQL", not found, found)
    except Skipped as reason:
        skipped = str(reason)
    except Failed as failed:
        problem = str(failed)
    except Exception as error:  # noqa: BLE001 - told, and the others go on
        problem = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    if problem:
        try:
            bench.abandon()
        except Exception as error:  # noqa: BLE001 - a server may be gone for good: that is told too
            problem += f"; no books: {type(error).__name__}"
    return Row(each, bench.tally, time.monotonic() - began, problem, skipped)
