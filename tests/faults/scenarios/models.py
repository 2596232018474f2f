"""Scenarios 19 to 21, 28 and 30: models that fail, drip, lie or are away, and a parser of ours that crashes.

Scaled: an hour is 8 s here.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.proxy import SPOILINGS, Proxy
from tests.faults.registry import Kind, scenario

HOUR_S = 8.0
COOLDOWN_S, COOLDOWN_CAP_S = 1.0, 2.0
DEADLINE_S = 3.0  # of each model: what a hang costs
KEY = "sk-not-for-other-hosts"
FLAT_MB = 30  # a worker may grow by so much while answers of 50 MB come in: less than one of them

# Failures that count, of the owed answer that has most of them.
MOST_TRIES = """
    SELECT coalesce(max(failures), 0) FROM (
        SELECT count(*) AS failures
        FROM model_calls m JOIN owed_answers o ON o.id = m.owed_answer_id
        JOIN consultations c ON c.id = o.consultation_id
        WHERE c.submission_id = %s
          AND (m.outcome = 'failed' AND m.error_kind <> 'rate_limited' OR m.error_kind = 'malformed')
        GROUP BY o.id) counted
"""
SUBSTITUTES = """
    SELECT count(*) FROM seats s JOIN consultations c ON c.id = s.consultation_id
    WHERE c.submission_id = %s AND s.occupancy > 1
"""
HELD = "SELECT count(*) FROM consultations WHERE submission_id = %s AND held = %s"
IN_FLIGHT = "SELECT count(*) FROM owed_answers WHERE state = 'owed' AND claimed_until > now()"
FOUND_OPEN = "SELECT name FROM model_states WHERE opened_at IS NOT NULL"
# The longest call, in seconds.
LONGEST = """
    SELECT max(extract(epoch FROM m.ended_at - m.started_at))::float
    FROM model_calls m JOIN owed_answers o ON o.id = m.owed_answer_id
    JOIN consultations c ON c.id = o.consultation_id
    WHERE c.submission_id = %s
"""


def short_deadlines(base_url: str, *more: str) -> str:
    """The panel's models.toml with short deadlines; `more` are lines for each of its tables."""
    command = [sys.executable, "-m", "panel", "models", "--base-url", base_url]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = "\n".join(("connect_s = 1.0", f"deadline_s = {DEADLINE_S}", *more))
    return re.sub(r"connect_s = .*\ndeadline_s = .*", lines, printed)


@cache
def _proxy(panel: str) -> Proxy:
    """The proxy in front of a panel; it lives as long as the suite."""
    return Proxy(panel.removesuffix("/v1")).__enter__()


def through_proxy(base_url: str) -> str:
    """The panel's models.toml with short deadlines and a key, its models behind the proxy."""
    return short_deadlines(_proxy(base_url).url, 'key_env = "SIM_KEY"')


_SETTINGS = {
    "hold_s": 3,
    "breaker_cooldown_s": COOLDOWN_S,
    "breaker_cooldown_cap_s": COOLDOWN_CAP_S,
    "substitute_after_s": 2,
    "model_slots": 32,
}
UNRELIABLE = Kind("unreliable", _SETTINGS, models=short_deadlines)
PROXIED = Kind("proxied", _SETTINGS, models=through_proxy, environ={"SIM_KEY": KEY})


@scenario(19, "default fault mix", size=500, kind=UNRELIABLE, limit_s=500)
def default_fault_mix(bench: Bench, size: int) -> None:
    """0 failed; no answer has more counted failures than `max_tries`; every call too many had its fault."""
    mix = {"429": 0.05, "5xx": 0.05, "hang": 0.02, "malformed": 0.03, "refusal": 0.01}
    bench.panel("/control/faults", mix)
    bench.delay(0.05)
    submission = bench.submit(size)
    bench.until(lambda now: now.unfinished == 0, submission, what="the end")
    ledger = bench.panel("/ledger")
    faults = sum(ledger["faults"].values())
    bench.fault(faults)
    [(most,)] = bench.ask(MOST_TRIES, submission)
    bench.expect("no more counted failures than `max_tries`", most <= bench.settings.max_tries, most)
    wasted = ledger["total"] - bench.now(submission).answered
    bench.expect(f"no more calls without an answer than faults ({faults})", wasted <= faults, wasted)
    bench.finish(submission)


@scenario(20, "a family down for the whole run", variant="one", size=60, kind=UNRELIABLE)
def a_family_down(bench: Bench, size: int) -> None:
    """Substitutes are used, the family is called until it is found down and by probes alone, and 0 fail."""
    family = [f"sim-alder-{size_}" for size_ in ("large", "medium", "small")]
    bench.panel("/control/faults", {"models": {name: {"unavailable": 1.0} for name in family}})
    bench.delay(0.1)
    began = time.monotonic()
    submission = bench.submit(size)
    bench.until(lambda now: now.unfinished == 0, submission, what="the end")
    elapsed_s = time.monotonic() - began
    [(substitutes,)] = bench.ask(SUBSTITUTES, submission)
    bench.expect("substitutes", substitutes > 0, substitutes)
    # what opens it, what was in flight beside that, then probes
    allowed = bench.settings.breaker_failures + bench.settings.in_flight_start + probes(elapsed_s)
    calls = _calls(bench)
    bench.fault(sum(calls.get(name, 0) for name in family))
    for name in family:
        made = calls.get(name, 0)
        bench.expect(f"at most {allowed} calls to {name}, which is down", made <= allowed, made)
    bench.finish(submission)


@scenario(20, "all down, then back", variant="all", size=24, kind=UNRELIABLE)
def all_down(bench: Bench, size: int) -> None:
    """Only probes while open; after the return all end and 0 fail."""
    _away(bench, size, 10 * COOLDOWN_S)


@scenario(20, "every answer 429, then none", variant="429", size=40, kind=UNRELIABLE)
def every_answer_429(bench: Bench, size: int) -> None:
    """The wait is shared: each model is asked about once a Retry-After; afterwards all end and 0 fail."""
    bench.delay(0.1)
    submission = bench.submit(size)
    bench.until(lambda now: now.share > 0.1, submission, what="a tenth of it")
    bench.panel("/control/faults", {"429": 1.0})
    before, outage_s = _calls(bench), 10.0
    threading.Event().wait(outage_s)
    # of each model: what was in flight, then one call after each Retry-After, which is 1 s at least
    allowed = bench.settings.in_flight_start + math.ceil(outage_s) + 1
    for name in _calls(bench):
        _at_most(bench, name, before, allowed, "of 429 alone")
    bench.panel("/control/faults", "off")
    bench.fault()
    bench.finish(submission)


@scenario(28, "all models away for 3 scaled hours", size=500, kind=UNRELIABLE, limit_s=400)
def all_models_away(bench: Bench, size: int) -> None:
    """Held as `no models`, probes only, and after the return all end by themselves and 0 fail."""
    _away(bench, size, 3 * HOUR_S)


def _away(bench: Bench, size: int, outage_s: float) -> None:
    bench.delay(0.1)
    submission = bench.submit(size)
    bench.until(lambda now: now.share > 0.1, submission, what="a tenth of it")
    bench.panel("/control/faults", {"unavailable": 1.0})
    began = time.monotonic()
    bench.until(lambda now: now.open > 0, submission)
    bench.wait(lambda: bench.ask(HELD, submission, "no models")[0][0] > 0, "`held: no models`")
    bench.wait(lambda: _quiet(bench, submission), "nothing in flight but probes")
    found_open = {name for (name,) in bench.ask(FOUND_OPEN)}
    before, looked_at = _calls(bench), time.monotonic()
    threading.Event().wait(max(2 * COOLDOWN_CAP_S, outage_s - (looked_at - began)))
    shown = bench.cli("status").stdout.decode()
    bench.expect("`no models` in `consilium status`", "no models" in shown, shown)
    for name in _calls(bench):
        # a probe may just begin; one that nobody had asked while it was down has to be found down first
        more = 1 if name in found_open else bench.settings.breaker_failures + bench.settings.in_flight_start
        _at_most(bench, name, before, probes(time.monotonic() - looked_at) + more, "while open")
    bench.panel("/control/faults", "off")
    bench.fault()
    bench.finish(submission)


def _quiet(bench: Bench, submission: uuid.UUID) -> bool:
    """All that is dispatched is held, and nobody works on it."""
    now = bench.now(submission)
    [(held,)] = bench.ask(HELD, submission, "no models")
    return held >= now.dispatched and now.in_flight <= 1


def probes(seconds: float) -> int:
    """Most half-open probes of one model in so many seconds: one after each cooldown; they double."""
    count, at, cooldown_s = 0, 0.0, COOLDOWN_S
    while at <= seconds:
        count, at, cooldown_s = count + 1, at + cooldown_s, min(2 * cooldown_s, COOLDOWN_CAP_S)
    return count


def _at_most(bench: Bench, name: str, before: Mapping[str, int], allowed: int, when: str) -> None:
    """The model got no more calls since `before`; each was a fault."""
    made = _calls(bench)[name] - before.get(name, 0)
    bench.tally.faults += made
    bench.expect(f"at most {allowed} calls to {name} {when}", made <= allowed, made)


def _calls(bench: Bench) -> dict[str, int]:
    """Calls that the panel has seen, by model."""
    return {name: row["calls"] for name, row in bench.panel("/ledger")["models"].items()}


@scenario(21, "answers that drip, flood, lie or lead away", size=60, kind=PROXIED)
def spoilt_answers(bench: Bench, size: int) -> None:
    """Each deadline T holds to 1 s, the workers' memory is flat, and the other host never sees the key."""
    assert bench.stack.panel_url is not None
    proxy = _proxy(bench.stack.panel_url)
    kinds = [kind for kind in SPOILINGS if kind != "pass"]
    orders = [each for kind in kinds * 5 for each in (kind, *["pass"] * 5)]  # few enough to open no breaker
    warm = bench.submit(size // 2)  # what a worker loads once is not what is looked at
    bench.until(lambda now: now.unfinished == 0, warm, what="a first run")
    grown = {name: _reset_peak(bench.stack.pid(name)) for name in bench.workers}
    proxy.spoil(*orders)  # type: ignore[arg-type]
    bench.fault(5 * len(kinds))
    submission = bench.submit(size)
    bench.until(lambda now: now.unfinished == 0, submission, what="the end")
    bench.expect("every kind of answer", proxy.waiting == 0, f"{proxy.waiting} were not asked for")
    [(longest_s,)] = bench.ask(LONGEST, submission)
    bench.expect(f"no call beyond {DEADLINE_S + 1:g} s", longest_s <= DEADLINE_S + 1, f"{longest_s:.2f} s")
    for name, before_mb in grown.items():
        more_mb = _peak_mb(bench.stack.pid(name)) - before_mb
        bench.expect(f"{name} to grow by {FLAT_MB} MB at most", more_mb <= FLAT_MB, f"{more_mb:.0f} MB")
    bench.expect("the key at its own host", proxy.keys_here > 0, proxy.keys_here)
    bench.expect("no key at the other host", proxy.keys_elsewhere == 0, proxy.keys_elsewhere)
    leaked = [f.name for f in (bench.home / "logs").iterdir() if KEY.encode() in f.read_bytes()]
    bench.expect("the key in no log", not leaked, leaked)
    bench.finish(warm, submission)


def _reset_peak(pid: int | None) -> float:
    """Begin to watch the most memory that a process takes; what it takes now, in MB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return _peak_mb(pid)


def _peak_mb(pid: int | None) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


@scenario(30, "our own parser crashes", size=20, kind=UNRELIABLE)
def parser_crashes(bench: Bench, size: int) -> None:
    """0 extra calls; what is held as `unread answer` ends after the parser is mended and `reparse`."""
    bench.hooks.put("parser crashes", "1")
    submission = bench.submit(size)
    bench.wait(
        lambda: bench.ask(HELD, submission, "unread answer")[0][0] == size, "all `held: unread answer`"
    )
    bench.wait(lambda: bench.ask(IN_FLIGHT)[0][0] == 0, "nothing in flight")
    bench.fault(bench.hooks.told("parser crashed"))
    made = bench.panel("/ledger")["total"]
    bench.expect("one call for each answer that is held", made == 3 * size, made)
    (bench.hooks.folder / "parser crashes.value").unlink()
    done = bench.cli("reparse")
    bench.expect("`consilium reparse` to end well", done.returncode == 0, done.stderr.decode()[-300:])
    books = bench.finish(submission)
    bench.expect("nine calls each and none more", books.called == 9 * size, books.called)
