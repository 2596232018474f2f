"""The rivals of the figures: a run of the bare script and of each canvas, and the canvases' workers."""

from __future__ import annotations

import contextlib
import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import booked_canvas
import plain_canvas
import psycopg
from celery import Celery
from figures_booking import OF_SUBMISSION, OPEN, Case
from figures_set import VIGNETTES, Set, Used, cpu_s
from psycopg.rows import dict_row

from db.ids import new_id

DATABASES = {"plain": 1, "booked": 2}
"""Of Redis, by the app's name: both listen to the queue `celery`."""


def run_bare(servers: Set, size: int, seed: int, in_flight: int) -> Used:
    """So many consultations by the bare script."""
    submission = servers.submit(size, seed=seed)
    before = servers.meters()
    made = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "figures_bare.py"), str(submission), str(in_flight)],
        env=servers.stack.environ,
        stdout=subprocess.PIPE,
        check=True,
    )
    said = json.loads(made.stdout)
    used = servers.used(size, said["seconds"], before)
    used.cpu_s["model workers"] = said["cpu_s"]
    return used


@contextlib.contextmanager
def canvas_workers(servers: Set, app: Celery, in_flight: int) -> Iterator[list[int]]:
    """Two workers of that canvas on the servers; their process ids."""
    broker = f"{servers.stack.addresses.broker_url.rpartition('/')[0]}/{DATABASES[app.main]}"
    environ = {
        **servers.stack.environ,
        "PLAIN_BROKER": broker,
        "PLAIN_DATABASE": servers.url,
        "PLAIN_PANEL": servers.stack.panel_url or "",
    }
    app.conf.update(broker_url=broker, result_backend=broker)
    with psycopg.connect(servers.url, autocommit=True) as connection:
        connection.execute(plain_canvas.SCHEMA)
    command = [sys.executable, "-P", "-m", "celery", "-A", f"{app.main}_canvas", "worker", "-P", "threads"]
    with contextlib.ExitStack() as stack:
        workers = []
        for number in (1, 2):
            name = f"{app.main}-{number}"
            log = stack.enter_context((servers.home / f"{name}.log").open("wb"))
            worker = subprocess.Popen(
                [*command, "-c", str(-(-in_flight // 2)), "-n", f"{name}@%h"],
                env=environ,
                stdout=log,
                stderr=log,
            )
            stack.callback(worker.wait)
            stack.callback(worker.terminate)
            workers.append(worker)
        yield [worker.pid for worker in workers]
        # Celery keeps results that nobody waits for; as they go they unsubscribe, while Redis is there.
        app.backend._pending_results.concrete.clear()
        gc.collect()


def run_plain(servers: Set, size: int, seed: int, pids: list[int]) -> Used:
    """So many consultations by the plain canvas."""
    examples = [json.loads(line) for line in VIGNETTES.read_text(encoding="utf-8").splitlines()]
    names = sorted(servers.registry)
    rng = random.Random(seed)

    def send(number: int) -> None:
        vignette = {**examples[number % len(examples)], "id": f"case-{new_id()}"}
        plain_canvas.start(seed * size + number, vignette, rng.sample(names, 3))

    return _run(servers, size, seed * size, pids, send)


def run_booked(servers: Set, size: int, seed: int, pids: list[int]) -> Used:
    """So many consultations by the canvas that keeps books."""
    first = 1_000_000 + seed * size  # beside those of the plain one
    submission = servers.submit(size, seed=seed)
    with psycopg.connect(servers.url, autocommit=True, row_factory=dict_row) as connection:
        rows = connection.execute(OF_SUBMISSION, (submission,)).fetchall()

        def send(number: int) -> None:
            row = rows[number]
            [sealed] = connection.execute(OPEN, {"ids": [row["document_id"]]}).fetchall()
            case = Case.open(row, sealed, servers.vault.site_key)
            booked_canvas.start(first + number, case, row["owed"])

        return _run(servers, size, first, pids, send)


def _run(servers: Set, size: int, first: int, pids: list[int], send: Callable[[int], Any]) -> Used:
    """Sending them is the submitter's work, and part of the time."""
    before, workers_before = servers.meters(), sum(map(cpu_s, pids))
    began, sent_before = time.monotonic(), time.process_time()
    for number in range(size):
        send(number)
    sent_s = time.process_time() - sent_before
    with psycopg.connect(servers.url, autocommit=True) as connection:
        ends = "SELECT count(*) FROM plain_ends WHERE consultation >= %s AND consultation < %s"
        while Set.ask(connection, ends, first, first + size) < size:
            if time.monotonic() - began > 60 + 2 * size:
                raise RuntimeError("the canvas has lost consultations: run it again")
            time.sleep(0.05)
    used = servers.used(size, time.monotonic() - began, before)
    used.cpu_s |= {"model workers": sum(map(cpu_s, pids)) - workers_before, "submitter": sent_s}
    return used
