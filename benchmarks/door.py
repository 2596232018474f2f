"""A night's batch in one POST: how fast it is stored, against a bare COPY of its rows, and in what memory.

    python benchmarks/door.py [--size 50000]

The API is a process of its own (`python -m producers.api`) on an embedded PostgreSQL; nobody works, so what
is measured is accepting: reading, checking, sealing, drawing of the ensembles and storing. The client streams
the body, and the seconds count from its first byte to the answer. The bare COPY writes the very rows that the
POST has stored, table by table in one transaction each, into a second database with the same empty schema
(keys, indexes and checks alike), in the same run. Memory is the process's resident set by /proc, sampled
twenty times a second; its idle size is taken after a first POST of one record.

Bars: a rate of at least 0.25 of the COPY's, and a peak within 100 MiB of idle. Limits: client, API and
PostgreSQL share one machine's cores, and the COPY's rows are at hand, so it reads, checks and seals nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
from figures_set import machine
from psycopg import sql

from db import migrate
from db.engine import dispose, transaction
from db.queries import api_keys
from embedded.services import Services
from producers.rows import TABLES

BARS = {"rate": 0.25, "MiB": 100}
ROOT = Path(__file__).parents[1]
PANEL = (sys.executable, "-m", "panel", "models", "--base-url", "http://127.0.0.1:9/v1")
WORDS = (
    "pain chest dyspnoea warfarin aspirin daily history of diabetes renal impairment blood pressure was is "
    "measured since two weeks patient reports no fever and takes metoprolol 50 mg twice"
)
COPIED = ("submissions", *(table.__tablename__ for table in TABLES))


def main() -> None:
    """Start, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=50_000, help="records in the POST")
    size = parser.parse_args().size
    print(f"{machine()}; {size} records in one POST")
    home = Path(tempfile.mkdtemp(prefix="consilium-bench-"))
    home.chmod(0o755)
    models = home / "models.toml"
    models.write_bytes(subprocess.run(PANEL, check=True, capture_output=True, cwd=ROOT).stdout)
    with Services(home) as services:
        url = services.addresses.database_url
        migrate.upgrade(url)
        environ = {
            **services.environ,
            **services.addresses.variables(),
            "CONSILIUM_MODELS_FILE": str(models),
            "CONSILIUM_HOME": str(home),
        }
        command = [sys.executable, "-m", "producers.api", "--port", "0"]
        with subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True) as api:
            try:
                seconds, idle, peak = _post(api, url, size)
            finally:
                api.terminate()
        copied, rows = _copy(url)
    posted = size / seconds
    ratio = posted / (size / copied)
    print(f"POST       {posted:8.0f} records/s  {seconds:6.1f} s")
    print(f"bare COPY  {size / copied:8.0f} records/s  {copied:6.1f} s  ({rows} rows)")
    print(f"ratio      {ratio:8.2f}  bar {BARS['rate']}: {'kept' if ratio >= BARS['rate'] else 'MISSED'}")
    grown = peak - idle
    kept = "kept" if grown <= BARS["MiB"] else "MISSED"
    print(f"API memory {idle:8.0f} MiB idle, {peak:.0f} MiB at most: {grown:+.0f}  bar {BARS['MiB']}: {kept}")


def _post(api: subprocess.Popen[str], url: str, size: int) -> tuple[float, float, float]:
    """Seconds of the POST, and MiB of the process: idle, and at most."""
    assert api.stdout is not None
    found = re.search(r"http://\S+", api.stdout.readline())
    assert found, "the API did not start"
    with transaction(url) as session:
        source = session.connection().exec_driver_sql("SELECT id FROM sources").scalar_one()
        _, token = api_keys.add(session, source, "benchmark", ["submit"])
    dispose(url)
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peak[0] = max(peak[0], _rss(api.pid))

    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    with httpx.Client(headers=headers, timeout=3600) as client:
        to = f"{found[0]}/v1/submissions"
        client.post(to, content=b"".join(_lines(1, "first"))).raise_for_status()
        idle = _rss(api.pid)
        watching = threading.Thread(target=watch)
        watching.start()
        began = time.monotonic()
        answer = client.post(to, content=_blocks(size))
        seconds = time.monotonic() - began
        over.set()
        watching.join()
    answer.raise_for_status()
    assert answer.json()["accepted"] == size, answer.text
    return seconds, idle, peak[0]


def _lines(size: int, prefix: str) -> Iterator[bytes]:
    rng, words = random.Random(8), WORDS.split()
    for number in range(size):
        made = {
            "id": f"{prefix}-{number}",
            "vignette": " ".join(rng.choices(words, k=200)),
            "context": {"age": rng.randint(20, 90), "sex": "female", "conditions": ["atrial fibrillation"]},
        }
        yield json.dumps(made).encode() + b"\n"


def _blocks(size: int) -> Iterator[bytes]:
    """The body as it is sent: 64 KiB and more at once."""
    block = bytearray()
    for line in _lines(size, "night"):
        block += line
        if len(block) > 65_536:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _copy(url: str) -> tuple[float, int]:
    """Seconds of a bare COPY of all that was stored, and its rows."""
    other = url.rsplit("/", 1)[0] + "/bare"
    with psycopg.connect(url, autocommit=True) as stored:
        stored.execute("CREATE DATABASE bare")
        migrate.upgrade(other)
        dispose(other)
        with psycopg.connect(other) as bare:
            bare.execute("SET session_replication_role = replica")  # what a migration has put in makes room
            for table in ("prompts", "model_versions", "snapshots", "sources"):
                bare.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
                _put(bare, table, _rows(stored, table))
            bare.execute("SET session_replication_role = origin")
            bare.commit()
            seconds, count = 0.0, 0
            for table in COPIED:
                rows = _rows(stored, table)
                began = time.monotonic()
                _put(bare, table, rows)
                bare.commit()
                seconds += time.monotonic() - began
                count += bare.execute(
                    sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
                ).fetchone()[0]  # type: ignore[index]
    return seconds, count


def _rows(stored: psycopg.Connection, table: str) -> list[bytes]:
    with stored.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))) as copy:
        return [bytes(block) for block in copy]


def _put(bare: psycopg.Connection, table: str, rows: list[bytes]) -> None:
    with bare.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))) as copy:
        for row in rows:
            copy.write(row)


def _rss(pid: int) -> float:
    """MiB of the process that are in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found, "the process has ended"
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
