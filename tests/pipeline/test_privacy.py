"""Nothing clinical outside PostgreSQL, and there only sealed: planted text is looked for everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.pipeline.conftest import Pipeline, vignettes

PLANTED = "ZEBRA"
REFUSED = "QUAGGA"  # breaks a constraint
ANSWERED = "azithromycin"  # what models answer to the case: it may stand as an ingredient code in PostgreSQL


def test_planted_text_is_found_nowhere(pipeline: Pipeline) -> None:
    """Text, ids, file names, keys, values that break a constraint: not in Redis, its file, logs, Flower."""
    case = json.loads(vignettes(20)[1])
    case["vignette"] += " The patient is called ZEBRA-text."
    case["id"] = "ZEBRA-id"
    case["context"]["conditions"].append("ZEBRA-condition")
    case["context"]["medications"] = [{"name": "ZEBRA-drug", "dose": "1 mg"}]
    lines = [
        json.dumps(case),
        json.dumps({**case, "id": "ZEBRA-id"}),  # breaks a unique constraint's rule
        json.dumps({**case, "id": "ZEBRA-2", "ZEBRA-field": "ZEBRA-value"}),
        '{"id": "ZEBRA-3", "vignette": "ZEBRA-cut',
        json.dumps({**case, "id": "ZEBRA-4", "context": {"age": "ZEBRA-age"}}),
    ]
    with tempfile.TemporaryDirectory(prefix="ZEBRA-folder") as folder:
        file = Path(folder) / "ZEBRA-file.ndjson"
        file.write_text("\n".join(lines), encoding="utf-8")
        submitted = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("consilium")), "submit", str(file), "--wait"),
                *("--idempotency-key", "ZEBRA-key"),
            ],
            env=pipeline.stack.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    assert submitted.returncode == 6, submitted.stderr
    assert "ZEBRA" not in submitted.stdout + submitted.stderr
    _refused_by_the_database(pipeline)
    found = {
        **_in_redis(pipeline),
        **_in_files(pipeline.stack.home / "redis"),
        **_in_files(pipeline.stack.home / "logs"),
        **_in_flower(pipeline),
    }
    assert [
        where for where, text in found.items() if any(w in text for w in (PLANTED, REFUSED, ANSWERED))
    ] == []
    assert len(found) > 10, "the search looked at something"
    # at rest: sealed before it is written, so neither tables nor the write-ahead log hold it
    with psycopg.connect(pipeline.url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    at_rest = _in_files(pipeline.stack.home / "postgres")
    assert [where for where, text in at_rest.items() if PLANTED in text] == []


def _refused_by_the_database(pipeline: Pipeline) -> None:
    """A value that breaks a constraint, sent by a client: PostgreSQL's own log must not repeat it."""
    with psycopg.connect(pipeline.url, autocommit=True) as connection:
        insert = "INSERT INTO sources (id, name, policy) VALUES (gen_random_uuid(), %s, '{}')"
        connection.execute(insert, (REFUSED,))
        with pytest.raises(psycopg.errors.UniqueViolation, match=REFUSED):
            connection.execute(insert, (REFUSED,))


def _in_redis(pipeline: Pipeline) -> dict[str, str]:
    broker = pipeline.broker()
    found = {}
    for key in broker.scan_iter(count=1000):
        value = broker.dump(key)
        found[f"redis {key!r}"] = repr(key) + (value or b"").decode("latin-1")
    return found


def _in_files(folder: Path) -> dict[str, str]:
    return {str(path): path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()}


def _in_flower(pipeline: Pipeline) -> dict[str, str]:
    stack = pipeline.stack
    with httpx.Client(base_url=stack.flower_url, auth=stack.flower_auth, timeout=30) as flower:
        return {
            path: flower.get(path).text for path in ("/api/tasks?limit=10000", "/api/workers", "/metrics")
        }
