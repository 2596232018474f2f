"""An API process that is killed in the middle of a POST, and the same POST again: complete, nothing twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from db.engine import transaction
from db.queries import api_keys
from shared.sealing import new_site_key
from tests import accepted
from tests.producers.api.test_submissions import line

RECORDS = 1_100
COUNTS = """
    SELECT s.state, s.records, s.set_aside, (SELECT count(*) FROM consultations),
           (SELECT count(DISTINCT ordinal) FROM records), (SELECT count(*) FROM data_keys)
    FROM submissions s
"""


def body() -> Iterator[bytes]:
    """The records, one of them bad, in blocks."""
    text = "A man of seventy has had chest pain on exertion. " * 8
    made = [line(f"case-{k}", vignette=text) for k in range(RECORDS)]
    made[700] = b"{\n"
    for start in range(0, RECORDS, 100):
        yield b"".join(made[start : start + 100])


def started(environ: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """The API as a process of its own, and where it listens."""
    command = [sys.executable, "-m", "producers.api", "--port", "0"]
    process = subprocess.Popen(command, env=environ, cwd=accepted.ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found
    return process, f"{found[0]}/v1/submissions"


def test_kill_9_in_the_middle_and_the_same_again(database_url: str, tmp_path: Path) -> None:
    """After the first chunk it dies; another process takes the same body, and goes on from there."""
    ctx = accepted.context(database_url)
    (tmp_path / "models.toml").write_text(accepted.models_toml())
    environ = {
        **os.environ,
        "CONSILIUM_DATABASE_URL": database_url,
        "CONSILIUM_BROKER_URL": "redis://127.0.0.1:9/0",
        "CONSILIUM_MODELS_FILE": str(tmp_path / "models.toml"),
        "CONSILIUM_SITE_KEY": new_site_key(),
    }
    with transaction(database_url) as session:
        [source] = session.connection().exec_driver_sql("SELECT id FROM sources").scalars()
        _, token = api_keys.add(session, source, "test", ["submit"])
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/x-ndjson",
        "Idempotency-Key": "monday",
    }
    process, to = started(environ)

    def until_it_dies() -> Iterator[bytes]:
        blocks = list(body())
        yield from blocks[:-1]
        while not accepted.ask(ctx, "SELECT FROM submissions"):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        yield blocks[-1]

    with process, pytest.raises(httpx.TransportError):
        httpx.post(to, content=until_it_dies(), headers=headers, timeout=60)
    [(state, stored, *_)] = accepted.ask(ctx, COUNTS)
    assert (state, stored in (500, 1_000)) == ("receiving", True)
    process, to = started(environ)
    with process:
        try:
            answer = httpx.post(to, content=body(), headers=headers, timeout=60)
            told = answer.json()
            assert (answer.status_code, told["records"], told["repeated"]) == (202, RECORDS, False)
            assert [each["line"] for each in told["errors"]] == [701]
            assert accepted.ask(ctx, COUNTS) == [("open", RECORDS, 1, RECORDS - 1, RECORDS, RECORDS)]
            again = httpx.post(to, content=body(), headers=headers, timeout=60).json()
            assert again == told | {"repeated": True}
        finally:
            process.terminate()
