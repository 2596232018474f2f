"""The installed command against a real database and broker; no workers are needed to take work in."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from embedded.services import Services
from shared.broker import NUDGE_QUEUE
from tests.accepted import models_toml

COMMAND = str(Path(sys.executable).with_name("consilium"))
UNKNOWN = "00000000-0000-0000-0000-000000000000"


def record(own_id: str, **changes: Any) -> str:
    """A good record as a line."""
    return json.dumps({"id": own_id, "vignette": "A man of seventy has had chest pain.", **changes}) + "\n"


class Shell:
    """Runs `consilium` with an environment of its own, its output piped."""

    def __init__(self, folder: Path, **environ: str) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CONSILIUM_", "FORCE_", "COLUMNS"))}
        self.folder = folder
        self.environ = {**kept, "CONSILIUM_HOME": str(folder / "home"), **environ}

    def __call__(self, *words: str, code: int = 0, stdin: str = "", **environ: str) -> str:
        """The command's standard output; its exit code is `code`, and nothing in it is for a terminal."""
        done = self.run(*words, stdin=stdin, **environ)
        assert done.returncode == code, done.stdout + done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def fails(self, *words: str, code: int, stdin: str = "", **environ: str) -> str:
        """What a command that fails says: the last line of its standard error, and nothing elsewhere."""
        done = self.run(*words, stdin=stdin, **environ)
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        said = done.stderr.splitlines()[-1]
        assert said.startswith("consilium: ")
        return said

    def run(self, *words: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """The finished process."""
        return subprocess.run(
            [COMMAND, *words],
            input=stdin,
            env={**self.environ, **environ},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def file(self, name: str, *lines: str) -> str:
        """Write a file; its name."""
        (self.folder / name).write_text("".join(lines), encoding="utf-8")
        return name


@pytest.fixture
def shell(services: Services, database_url: str, tmp_path: Path) -> Shell:
    """A command line on a fresh database, with the simulated panel's models."""
    models = tmp_path / "models.toml"
    models.write_text(models_toml(), encoding="utf-8")
    return Shell(
        tmp_path,
        CONSILIUM_DATABASE_URL=database_url,
        CONSILIUM_BROKER_URL=services.addresses.broker_url,
        CONSILIUM_SITE_KEY=services.addresses.site_key,
        CONSILIUM_MODELS_FILE=str(models),
    )


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A loopback port that is taken and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_batch_from_submit_to_show(shell: Shell) -> None:
    """Two files, one bad line: said with file, line and field; then status, all forms of results, and show."""
    one = shell.file("one.ndjson", record("a", context={"allergies": ["penicillin"]}), "\n", record("b"))
    two = shell.file("two.ndjson", record("c"), record("d", context={"age": "old"}))
    done = shell.run("submit", one, two)
    assert done.returncode == 6
    assert done.stderr.strip() == (
        "two.ndjson, line 2, field context.age: Input should be a valid number, unable to parse string as a "
        "number"
    )
    found = re.match(r"submission (\S+): 4 records, 3 accepted, 1 set aside\n", done.stdout)
    assert found
    submission = found[1]
    assert f"consilium status {submission}\n" in done.stdout
    assert f"consilium results {submission}\n" in done.stdout

    status = shell("status", submission)
    assert re.search(rf"^{submission} +local +open +care +RANDOM 3 +4 +1 +0 +0 +0 +0 +3 *$", status, re.M)
    counted = json.loads(shell("status", "--format", "json"))
    assert counted["submissions"][0]["id"] == submission
    assert [(stage["stage"], stage["consultations"]) for stage in counted["open"]] == [("waiting", 3)]

    rows = json.loads(shell("results", submission, "--format", "json"))
    assert [(r["line"], r["id"], r["state"], r["error_path"]) for r in rows] == [
        (1, "a", "open", None),
        (3, "b", "open", None),
        (1, "c", "open", None),
        (2, None, "set_aside", "context.age"),
    ]
    assert [r["recommendation"] for r in rows] == [None] * 4, "not known is not empty"
    lines = shell("results", submission, "--format", "ndjson").splitlines()
    assert [json.loads(line) for line in lines] == rows
    table = list(csv.DictReader(io.StringIO(shell("results", submission, "--format", "csv"))))
    assert [(r["line"], r["id"], r["state"]) for r in table] == [
        (str(r["line"]), r["id"] or "", r["state"]) for r in rows
    ]
    plain = shell("results", submission).splitlines()
    assert len(plain) == 1 + 4, "a record is a line, however wide"
    assert all(row["consultation"] in line for row, line in zip(rows[:3], plain[1:4], strict=True))

    shown = shell("show", rows[0]["consultation"])
    assert "A man of seventy has had chest pain." in shown
    assert "probability 0.00455" in shown
    case = json.loads(shell("show", rows[0]["consultation"], "--format", "json"))
    assert case["vignette"]["context"]["allergies"] == ["penicillin"]
    assert [answer["state"] for answer in case["answers"]] == ["owed"] * 3
    assert all(answer["simulated"] for answer in case["answers"])


def test_standard_input_and_strict(shell: Shell) -> None:
    """`-` reads standard input; with --strict one bad record stores nothing, and each bad one is told."""
    bad = record("a") + "{\n" + record("b") + "[]\n"
    refused = shell.run("submit", "-", "--strict", stdin=bad)
    assert refused.returncode == 3
    assert [line.split(":")[0] for line in refused.stderr.splitlines()] == ["line 2", "line 4", "consilium"]
    assert refused.stdout == ""
    assert json.loads(shell("status", "--format", "json"))["submissions"] == []
    good = record("a") + record("b")
    receipt = json.loads(shell("submit", "-", "--strict", "--format", "json", stdin=good))[0]
    assert (receipt["accepted"], receipt["set_aside"], receipt["errors"]) == (2, 0, [])


def test_an_idempotency_key(shell: Shell) -> None:
    """The same key and content: the first receipt, its errors and its exit code; other content is refused."""
    words = ("submit", "-", "--idempotency-key", "monday", "--format", "json")
    body = record("a") + "{\n"
    first, again = (json.loads(shell(*words, stdin=body, code=6))[0] for _ in range(2))
    assert (first.pop("repeated"), again.pop("repeated")) == (False, True)
    assert first == again
    assert "new key" in shell.fails(*words, stdin=record("b"), code=4)


def test_sources(shell: Shell) -> None:
    """A source's policy is shown for all, holds at the draw, and its name comes once."""
    said = shell("sources", "add", "ward", "--allow", "local", "--deny", "sim-fir-7b")
    assert said == "source ward: local models may read its patients\n"
    assert "named 'ward' already" in shell.fails("sources", "add", "ward", code=2)
    listed = {s["name"]: s for s in json.loads(shell("sources", "list", "--format", "json"))}
    assert {name: (s["allow"], s["deny"]) for name, s in listed.items()} == {
        "local": (["local", "simulated"], []),
        "ward": (["local"], ["sim-fir-7b"]),
    }
    assert len(shell("sources", "list", "--format", "csv").splitlines()) == 3
    few = shell.fails("submit", "-", "--source", "ward", "--n", "7", stdin=record("a"), code=5)
    assert "allow more models for this source" in few
    assert "consilium sources add" in shell.fails("submit", "-", "--source", "x", stdin=record("a"), code=2)


def test_a_nudge_is_sent_and_may_be_lost(shell: Shell, services: Services, closed_port: int) -> None:
    """With the broker away a batch is accepted all the same, and the command says so."""
    broker = redis.Redis.from_url(services.addresses.broker_url)
    before = int(broker.llen(NUDGE_QUEUE))  # type: ignore[arg-type]
    shell("submit", "-", stdin=record("ZEBRA-1"))
    assert int(broker.llen(NUDGE_QUEUE)) == before + 1  # type: ignore[arg-type]
    message = broker.lindex(NUDGE_QUEUE, 0)
    assert isinstance(message, bytes)
    assert b"ZEBRA" not in message
    broker.close()
    away = f"redis://127.0.0.1:{closed_port}/0"
    done = shell.run("submit", "-", stdin=record("ZEBRA-2"), CONSILIUM_BROKER_URL=away)
    assert done.returncode == 0
    assert done.stderr == "the broker is away: all is stored, and work begins when it is back\n"
    assert "1 records, 1 accepted, 0 set aside" in done.stdout
    assert len(json.loads(shell("status", "--format", "json"))["submissions"]) == 2
    assert "`consilium up`" in shell.fails("models", "check", code=7, CONSILIUM_BROKER_URL=away)


def test_models(shell: Shell) -> None:
    """The registry as a table and for programs; a price that is not known is no zero."""
    models = json.loads(shell("models", "--format", "json"))
    assert len(models) == 12
    assert all(model["simulated"] for model in models)
    assert len(shell("models").splitlines()) == 1 + 12
    text = re.sub(r"usd_per_mtok_in = .*\n", "", models_toml())
    (shell.folder / "models.toml").write_text(text, encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(shell("models", "--format", "csv"))))
    assert {row["usd_per_mtok_in"] for row in rows} == {""}
    (shell.folder / "models.toml").write_text("[models.sim-x]\nprovider = 'p'\n", encoding="utf-8")
    assert "is required; add it" in shell.fails("models", code=2)


def test_what_went_wrong_is_one_sentence_with_the_next_step(
    shell: Shell, empty_database_url: str, closed_port: int
) -> None:
    """Each has an exit code that means something, and nothing has been stored."""
    one = record("a")
    away = f"postgresql://nobody@127.0.0.1:{closed_port}/consilium"
    submit = ("submit", "-")
    cases: list[tuple[tuple[str, ...], int, dict[str, str], str]] = [
        (("status",), 7, {"CONSILIUM_DATABASE_URL": away}, "is `consilium up` running"),
        (submit, 7, {"CONSILIUM_DATABASE_URL": away}, "is `consilium up` running"),
        (("models", "check"), 7, {"CONSILIUM_DATABASE_URL": away}, "is `consilium up` running"),
        (("status",), 2, {"CONSILIUM_DATABASE_URL": empty_database_url}, "`consilium up` makes them"),
        (("status", UNKNOWN), 8, {}, "see `consilium status`"),
        (("results", UNKNOWN), 8, {}, "see `consilium status`"),
        (("show", UNKNOWN), 8, {}, "see `consilium results SUBMISSION`"),
        (("submit", "missing.ndjson"), 2, {}, "missing.ndjson cannot be read"),
        (("submit", "."), 2, {}, "cannot be read: Is a directory"),
        ((*submit, "--priority", "high"), 2, {}, "--priority is one of urgent, routine, background"),
        ((*submit, "--purpose", "fun"), 2, {}, "--purpose is one of care, evaluation, training, demo"),
        ((*submit, "--strategy", "best"), 2, {}, "--strategy is one of LOCAL, REMOTE, RANDOM, FIXED"),
        ((*submit, "--strategy", "fixed"), 2, {}, "give both or neither"),
        ((*submit, "--models", "sim-a,sim-b"), 2, {}, "give both or neither"),
        ((*submit, "--idempotency-key", ""), 2, {}, "a key of its own"),
        (submit, 2, {"CONSILIUM_SITE_KEY": "c2hvcnQ="}, "openssl rand -base64 32"),
        (submit, 2, {"CONSILIUM_WINDOW": "many"}, "CONSILIUM_WINDOW: Input should be a valid integer"),
    ]
    unset = ("DATABASE_URL", "BROKER_URL", "SITE_KEY", "MODELS_FILE")
    bare = {
        name: Shell(shell.folder, **{k: v for k, v in shell.environ.items() if k != f"CONSILIUM_{name}"})
        for name in unset
    }

    def check(k: int) -> None:
        if k < len(cases):
            words, code, environ, said = cases[k]
            assert said in shell.fails(*words, code=code, stdin=one, **environ)
        else:
            name = unset[k - len(cases)]
            assert f"CONSILIUM_{name}" in bare[name].fails(*submit, code=2, stdin=one)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, range(len(cases) + len(unset))))
    with psycopg.connect(shell.environ["CONSILIUM_DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM submissions").fetchone() == (0,)


def test_a_mistyped_command_line(shell: Shell) -> None:
    """Exit code 2 and what is wrong, plain."""
    done = shell.run("status", "not-an-id")
    assert done.returncode == 2
    assert "not a valid UUID" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_pipe_that_cannot_be_read_twice(shell: Shell) -> None:
    """A file that is a pipe is read once: what a shell makes of <(zcat …)."""
    os.mkfifo(shell.folder / "pipe")
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit((shell.folder / "pipe").write_text, record("a"))
        assert "1 accepted" in shell("submit", "pipe")
        writing.result()
