"""Scenario 23: what a provider bears is known to all workers at once, and learned where nobody says it.

Scaled: a minute is 12 s here, for what a call is held up on its way is not scaled with it.
"""

from __future__ import annotations

import threading
import time
import uuid

from tests.faults.bench import Bench
from tests.faults.registry import Kind, scenario
from tests.faults.scenarios.models import short_deadlines

MINUTE_S, RATE = 12.0, 60
MINUTES = 3  # that are watched
STEPS = ((20, 10.0), (5, 12.0), (20, 30.0))  # calls at once that the model bears, for so many seconds
CALL_S = 1.0  # a limit rises by one a round of calls, and a ceiling is tried after 30 of them
TRIO = ("sim-alder-large", "sim-birch-large", "sim-cedar-large")
STEPPING = TRIO[0]


def rated(base_url: str) -> str:
    """The panel's models, whose provider allows so many calls a minute."""
    return short_deadlines(base_url) + f"\n[providers.panel]\nrequests_per_minute = {RATE}\n"


RATED = Kind(
    "rated", {"limit_window_s": MINUTE_S, "model_slots": 16}, workers=4, models=rated, beside="paced"
)
LEARNING = Kind("learning", {"model_slots": 32}, workers=4, beside="paced")


@scenario(23, "60 calls a scaled minute, 4 workers", variant="rate", size=30, kind=RATED, limit_s=120)
def rate(bench: Bench, size: int) -> None:
    """The panel sees no more than the rate in any window, 90 % of it is used, less than 1 % is refused."""
    bench.panel("/control/limits", {"requests_per_minute": RATE, "window_s": MINUTE_S})
    submission = bench.submit(size)
    bench.until(lambda now: now.share > 0.1, submission, what="a tenth of it")
    threading.Event().wait(MINUTE_S)  # after the first volley, in the middle of the work
    before, began = bench.panel("/ledger")["total"], time.monotonic()
    threading.Event().wait(MINUTES * MINUTE_S)
    ledger, minutes = bench.panel("/ledger"), (time.monotonic() - began) / MINUTE_S
    bench.expect("the work to last as long as is watched", bench.now(submission).open > 0, "the end")
    used = (ledger["total"] - before) / (RATE * minutes)
    bench.expect("at least 90 % of the rate used", used >= 0.9, f"{used:.0%}")
    bench.until(lambda now: now.unfinished == 0, submission, what="the end")
    ledger = bench.panel("/ledger")
    bench.expect(f"at most {RATE} calls in any window", ledger["peak_window"] <= RATE, ledger["peak_window"])
    _few_refused(bench, submission)
    bench.panel("/control/limits", {})
    bench.finish(submission)


@scenario(23, "capacity stepping 20, 5, 20", variant="steps", size=150, kind=LEARNING, limit_s=180)
def steps(bench: Bench, size: int) -> None:
    """The learned limit follows each step of what the model bears, and less than 1 % is refused."""
    bench.delay(CALL_S)
    _bear(bench, STEPS[0][0])
    submission = bench.submit(size, strategy="FIXED", models=TRIO)
    learned = []
    for most, seconds in STEPS:
        _bear(bench, most)
        bench.fault()
        threading.Event().wait(seconds)
        learned.append(_learned(bench))
    bench.expect("the work to last as long as is watched", bench.now(submission).open > 0, "the end")
    high, low, again = learned
    bench.expect("a limit that follows 20, 5, 20", low <= 1.5 * STEPS[1][0] < min(high, again), learned)
    bench.until(lambda now: now.unfinished == 0, submission, what="the end")
    _few_refused(bench, submission)
    bench.panel("/control/limits", {})
    bench.finish(submission)


def _bear(bench: Bench, most: int) -> None:
    bench.panel("/control/limits", {"models": {STEPPING: {"concurrent": most}}})


def _learned(bench: Bench) -> float:
    """The limit in force for the stepping model, as the last sweep saw it."""
    [(limit,)] = bench.ask("SELECT learned_limit FROM model_states WHERE name = %s", STEPPING)
    return float(limit)


REFUSED = """
    SELECT count(*) FROM model_calls m JOIN owed_answers o ON o.id = m.owed_answer_id
    JOIN consultations c ON c.id = o.consultation_id
    WHERE c.submission_id = %s AND m.error_kind = 'rate_limited'
"""


def _few_refused(bench: Bench, submission: uuid.UUID) -> None:
    [(refused,)] = bench.ask(REFUSED, submission)
    bench.tally.faults += refused
    share = refused / bench.panel("/ledger")["total"]
    bench.expect("less than 1 % refused with 429", share < 0.01, f"{share:.1%}")
