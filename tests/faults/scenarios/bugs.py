"""Bugs of ours: a header task that raises, and a vignette that kills whoever works on it."""

from __future__ import annotations

from tests.faults.bench import Bench
from tests.faults.registry import STALL_S, Kind, scenario

POISON = Kind(
    "poison",
    {"hold_s": 1, "lease_slack_s": 0.5, "max_substitutions": 1},  # leases of 6.5 s
    pool="prefork",
)
CRASHES = 3  # so often a claim may run out before its answer is excused


@scenario(10, "a header raises", size=20)
def header_raises(bench: Bench, size: int) -> None:
    """Once: after a call (its answer is thrown away), and in the task itself after its answer is stored (its
    chord is broken). Always: for two consultations. Pass: as many extra as answers were thrown away; always:
    `failed` with its reason, tries within their bound, the others unharmed."""
    once = 5
    bench.hooks.arm("a bug once", once)
    bench.hooks.arm("header raises", once)
    bench.finish(bench.submit(size, stall_s=STALL_S / 2), allowed=once)
    bench.fault(2 * once)
    cursed: list[str] = []

    def curse(ids: list[str]) -> None:
        cursed.extend(ids[:2])
        bench.hooks.put("always a bug", " ".join(cursed))

    before = bench.hooks.told("bug")
    seats = 3 * (1 + bench.settings.max_substitutions)
    submission = bench.submit(size // 2, stall_s=STALL_S / 2, known=curse)
    bench.finish(submission, allowed=2 * seats * bench.settings.max_tries, failed=2)
    bench.fault(bench.hooks.told("bug") - before)
    failed = bench.ask(
        "SELECT id::text, reason FROM consultations WHERE submission_id = %s AND state = 'failed'", submission
    )
    bench.expect("the two to fail", {id_ for id_, _ in failed} == set(cursed), failed)
    bench.expect("a reason", all(reason for _, reason in failed), failed)
    [(tries,)] = bench.ask(
        "SELECT max(o.tries) FROM owed_answers o JOIN consultations c ON c.id = o.consultation_id "
        "WHERE c.submission_id = %s",
        submission,
    )
    bench.expect(f"tries ≤ {bench.settings.max_tries}", tries <= bench.settings.max_tries, tries)


@scenario(11, "a poisonous vignette", size=11, kind=POISON)
def poison(bench: Bench, size: int) -> None:
    """The work on one seat of one consultation kills its process each time. Pass: ≤ 3 runs an occupancy, the
    third in quarantine; then excused (or substituted) and ended; the others complete."""
    poisoned: list[str] = []

    def poison_first(ids: list[str]) -> None:
        poisoned.append(ids[0])
        bench.hooks.put("poison", f"{ids[0]}:0")

    submission = bench.submit(size, stall_s=STALL_S, known=poison_first)
    bench.until(lambda now: now.unfinished == 0, submission, what="the end")
    rows = bench.ask(
        "SELECT id::text, state, reason, crashes, occupancy FROM owed_answers "
        "WHERE consultation_id = %s AND kind = 'generation' AND seat = 0 ORDER BY occupancy",
        poisoned[0],
    )
    runs = [bench.hooks.told(f"poison {row[0]}") for row in rows]
    bench.fault(sum(runs))
    # what died never reached the panel, and nobody else's call died with it
    bench.finish(submission)
    bench.expect(f"1 to {CRASHES} runs of each occupant", all(1 <= n <= CRASHES for n in runs), runs)
    ends = {(state, reason) for _, state, reason, *_ in rows}
    bench.expect("crashed in the end", ends <= {("excused", "crashed"), ("void", "crashed")}, ends)
