"""How close the shared limiter keeps to what a server bears: `python benchmarks/limiter.py`.

Four processes call one model of a real panel over HTTP, with far more calls waiting than it takes. Who is
refused comes back after the time it was told, 0 to 0.25 s late, as a countdown does.

    steps   20 calls at once are borne, then 5, then 20
    rate    60 calls in any scaled minute of 6 s; the limiter is told the rate, the rivals are not

Rivals in the same run: a fixed number in flight (20 over the four processes), and none (12 slots a process);
both keep to Retry-After, each call for itself. Latencies are the panel's own, scaled.
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from embedded.services import Services  # noqa: E402
from shared.registry import Limits, Model  # noqa: E402
from shared.settings import Settings  # noqa: E402
from workers.limits import Limiter, connect  # noqa: E402

NAME = "sim-rowan-medium"
PROCESSES, WINDOW_S, RATE = 4, 6.0, 60
SLOTS = {"limiter": 12, "fixed 20": 5, "none": 12}
WAITING = 60  # calls a process has in hand
PATIENCE_S = 0.25  # waits up to this are slept in the slot
LATE_S = 0.25


def settings() -> Settings:
    """The defaults, with the scaled minute."""
    return Settings(limit_window_s=WINDOW_S)


def model(url: str) -> Model:
    """The one model that is called."""
    return Model(
        name=NAME, provider="panel", protocol="openai", location="remote", simulated=True, family="rowan",
        base_url=f"{url}/v1",
    )  # fmt: skip


def caller(kind: str, number: int, url: str, redis_url: str, until: float, rate: int | None) -> None:
    """One process: its slots work off a heap of calls that are due."""
    limiter = Limiter(connect(redis_url), settings()) if kind == "limiter" else None
    called, own = model(url), Limits(requests_per_minute=rate)
    rng, changed, numbers = random.Random(number), threading.Condition(), iter(range(10**9))
    due = [(0.0, next(numbers)) for _ in range(WAITING)]

    def slot() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while time.time() < until:
                with changed:
                    now = time.time()
                    if not due or due[0][0] > now:
                        changed.wait(min(due[0][0] - now, 0.5) if due else 0.5)
                        continue
                    _, call = heapq.heappop(due)
                wait_s = attempt(client, f"{number}-{call}")
                with changed:
                    if wait_s is None:
                        heapq.heappush(due, (0.0, next(numbers)))
                    else:
                        heapq.heappush(due, (time.time() + wait_s + rng.random() * LATE_S, call))
                    changed.notify()

    def attempt(client: httpx.Client, call: str) -> float | None:
        if limiter is not None:
            patience_ends = time.monotonic() + PATIENCE_S
            while wait_s := limiter.acquire(called, call, tokens=500, lease_s=60, own=own, provider=Limits()):
                if time.monotonic() + wait_s > patience_ends:
                    return wait_s
                time.sleep(wait_s)
        body = {"model": NAME, "messages": [{"role": "user", "content": f"CASE BEGIN\n{call}\nCASE END"}]}
        answer = client.post("/v1/chat/completions", json=body, headers={"X-Request-ID": f"{call}:1"})
        wait_s = float(answer.headers["Retry-After"]) if answer.status_code == 429 else None
        if limiter is not None:
            outcome = "answered" if wait_s is None else "limited"
            limiter.release(called, call, outcome, retry_after_s=wait_s)
        return wait_s

    threads = [threading.Thread(target=slot) for _ in range(SLOTS[kind])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Run:
    """One kind of caller against one panel."""

    def __init__(self, kind: str, url: str, redis_url: str, seconds: float, rate: int | None = None) -> None:
        self.url, self.desk = url, httpx.Client(base_url=url, timeout=30)
        self.client = connect(redis_url)
        self.client.flushdb()
        self.limiter = Limiter(self.client, settings())
        self.began = time.time()
        arguments = (url, redis_url, self.began + seconds, rate)
        self.callers = [
            multiprocessing.Process(target=caller, args=(kind, number, *arguments))
            for number in range(PROCESSES)
        ]
        for process in self.callers:
            process.start()

    def books(self) -> dict[str, Any]:
        """The panel's ledger: calls, answers, refusals, and the largest window."""
        ledger = self.desk.get("/ledger").json()
        row = ledger["models"].get(NAME, {"calls": 0, "answered": 0})
        limited = sum(ledger["limited"].values())
        return {**row, "limited": limited, "peak": ledger["peak_window"], "open": ledger["open"]}

    def end(self) -> None:
        """Wait for the callers."""
        for process in self.callers:
            process.join()


def capacity(url: str, **limits: Any) -> None:
    """What the panel bears from now on; its books begin anew."""
    httpx.post(f"{url}/control/limits", json={"window_s": WINDOW_S, **limits}).raise_for_status()


def steps(kind: str, url: str, redis_url: str, phase_s: float) -> None:
    """20 → 5 → 20: refusals, use, and how long the limit took to follow."""
    httpx.post(f"{url}/ledger/reset").raise_for_status()
    run, limited, calls = Run(kind, url, redis_url, 3 * phase_s), 0, 0
    for number, most in enumerate((20, 5, 20)):
        capacity(url, concurrent=most, retry_after_s=1)
        before, began = run.books(), time.time()
        ends, followed, opened, looks = run.began + (number + 1) * phase_s, None, 0, 0
        near = {5: (4, 6), 20: (18, 21)}[most]
        trail = []
        while time.time() < ends - 0.1:
            time.sleep(0.1)
            limit = run.limiter.snapshot([NAME])[NAME].limit
            if followed is None and near[0] <= limit <= near[1]:
                followed = time.time() - began
            if looks % 20 == 0:
                trail.append(f"{limit:.0f}")
            opened, looks = opened + run.books()["open"], looks + 1
        after = run.books()
        calls, limited = calls + after["calls"] - before["calls"], limited + after["limited"]
        follow = f"{followed:5.1f} s" if followed is not None and kind == "limiter" else "      –"
        used = opened / looks / most
        print(
            f"steps  {kind:9} bears {most:2}: {after['calls'] - before['calls']:5} calls, "
            f"429 {after['limited']:5}, in use {used:4.0%}, limit followed after {follow}"
            + (f"  ({' '.join(trail)})" if kind == "limiter" else ""),
            flush=True,
        )
    run.end()
    print(f"steps  {kind:9} in all   : {calls:5} calls, 429 share {limited / max(calls, 1):.2%}", flush=True)


def rate(kind: str, url: str, redis_url: str, seconds: float) -> None:
    """60 a scaled minute: the largest window seen, and how much of the rate was used."""
    httpx.post(f"{url}/ledger/reset").raise_for_status()
    capacity(url, requests_per_minute=RATE, retry_after_s=1)
    run = Run(kind, url, redis_url, seconds, RATE)
    # when the 61st call arrived, the 121st, …: whole minutes, wherever in them the calls lie
    reached: list[float] = []
    while time.time() < run.began + seconds - 0.2:
        time.sleep(0.1)
        last = run.books()
        while last["calls"] - last["limited"] > RATE * (len(reached) + 1):
            reached.append(time.time())
    run.end()
    used = (len(reached) - 1) * WINDOW_S / (reached[-1] - reached[0])
    print(
        f"rate   {kind:9} {last['calls']:5} calls, largest window {last['peak']:4} of {RATE}, "
        f"used {used:4.0%} of the rate, 429 share {last['limited'] / max(last['calls'], 1):.2%}",
        flush=True,
    )


def main() -> None:
    """Both runs for the limiter and its rivals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phase", type=float, default=30.0, help="seconds of each step")
    parser.add_argument("--rate-for", type=float, default=102.0, help="seconds of the run with a rate")
    parser.add_argument("--rivals-for", type=float, default=10.0, help="the same for the rivals, and a phase")
    parser.add_argument("--only", choices=SLOTS)
    parser.add_argument("--part", choices=("steps", "rate"))
    parser.add_argument("--time-scale", default="0.2")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="consilium-limiter-"))
    home.chmod(0o755)
    command = [sys.executable, "-m", "panel", "serve", "--port", "0", "--faults", "off", "--time-scale"]
    with (
        Services(home) as services,
        subprocess.Popen(
            [*command, options.time_scale], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as panel,
    ):
        assert panel.stdout is not None
        url, redis_url = panel.stdout.readline().split()[-1], services.addresses.broker_url
        ask = {"model": NAME, "messages": [{"role": "user", "content": "the first call reads the tables"}]}
        httpx.post(f"{url}/v1/chat/completions", json=ask, timeout=60).raise_for_status()
        try:
            for kind in [options.only] if options.only else SLOTS:
                ours = kind == "limiter"
                if options.part != "rate":
                    steps(kind, url, redis_url, options.phase if ours else options.rivals_for)
                if options.part != "steps":
                    rate(kind, url, redis_url, options.rate_for if ours else 2 * options.rivals_for)
        finally:
            panel.terminate()
    print(json.dumps({"window_s": WINDOW_S, "time_scale": options.time_scale, "processes": PROCESSES}))


if __name__ == "__main__":
    main()
