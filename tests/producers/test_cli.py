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
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.main import get_command

from embedded.services import Services
from producers.cli import COMMANDS, application, main
from shared.broker import NUDGE_QUEUE
from shared.errors import SettingsError
from shared.settings import get_settings
from tests.accepted import models_toml

COMMAND = str(Path(sys.executable).with_name("consilium"))
UNKNOWN = "00000000-0000-0000-0000-000000000000"


def record(own_id: str, **changes: Any) -> str:
    """A good record as a line."""
    return json.dumps({"id": own_id, "vignette": "A man of seventy has had chest pain.", **changes}) + "\n"


@dataclass(frozen=True)
class Done:
    """What a finished command left."""

    code: int
    out: str
    err: str


class Shell:
    """Runs `consilium` in an environment of its own, its output piped."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *words: str, stdin: str = "", **environ: str) -> Done:
        """The installed command, as a process."""
        done = subprocess.run(
            [COMMAND, *words],
            input=stdin,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return _plain(Done(done.returncode, done.stdout, done.stderr))

    def __call__(self, *words: str, code: int = 0, stdin: str = "", **environ: str) -> str:
        """The standard output of the installed command, whose exit code is `code`."""
        done = self.run(*words, stdin=stdin, **environ)
        assert done.code == code, done
        return done.out

    def here(self, *words: str, stdin: str = "", unset: str = "", **environ: str) -> Done:
        """The same command within this process, which has loaded everything already."""
        with self._monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["consilium", *words])
            patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            for name, value in environ.items():
                patched.setenv(name, value)
            if unset:
                patched.delenv(unset)
            get_settings.cache_clear()
            self._capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
            get_settings.cache_clear()
        code = ended.value.code
        return _plain(Done(code if isinstance(code, int) else 0, *self._capsys.readouterr()))

    def rows(self, *words: str, code: int = 0, stdin: str = "", **environ: str) -> Any:
        """What a command prints with `--format json`."""
        done = self.here(*words, "--format", "json", stdin=stdin, **environ)
        assert done.code == code, done
        return json.loads(done.out)

    def fails(self, *words: str, code: int, stdin: str = "", **environ: str) -> str:
        """What a command that fails says on standard error; on standard output it says nothing."""
        done = self.here(*words, stdin=stdin, **environ)
        assert (done.code, done.out) == (code, ""), done
        assert done.err.startswith("consilium: ")
        return " ".join(done.err.split())

    def file(self, name: str, *lines: str) -> str:
        """Write a file; its name."""
        (self.folder / name).write_text("".join(lines), encoding="utf-8")
        return name


def _plain(done: Done) -> Done:
    assert "\x1b" not in done.out + done.err, "nothing for a terminal"
    assert "Traceback" not in done.err
    return done


@pytest.fixture
def shell(
    services: Services,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    """A command line on a fresh database, with the simulated panel's models."""
    models = tmp_path / "models.toml"
    models.write_text(models_toml(), encoding="utf-8")
    for name in os.environ:
        if name.startswith(("CONSILIUM_", "FORCE_", "COLUMNS")):
            monkeypatch.delenv(name)
    ours = {
        "HOME": str(tmp_path / "home"),
        "DATABASE_URL": database_url,
        "BROKER_URL": services.addresses.broker_url,
        "SITE_KEY": services.addresses.site_key,
        "MODELS_FILE": str(models),
    }
    for name, value in ours.items():
        monkeypatch.setenv(f"CONSILIUM_{name}", value)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A loopback port that is taken and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_batch_from_submit_to_show(shell: Shell) -> None:
    """Two files with a bad line, told with file, line and field; then status, results in each form, show."""
    one = shell.file("one.ndjson", record("a", context={"allergies": ["penicillin"]}), "\n", record("b"))
    two = shell.file("two.ndjson", record("c"), record("d", context={"age": "old"}))
    done = shell.run("submit", one, two)
    assert done.code == 6
    assert done.err == (
        "two.ndjson, line 2, field context.age: Input should be a valid number, unable to parse string as a "
        "number\n"
    )
    found = re.match(r"submission (\S+): 4 records, 3 accepted, 1 set aside\n", done.out)
    assert found
    submission = found[1]
    assert f"consilium status {submission}\n" in done.out
    assert f"consilium results {submission}\n" in done.out

    status = shell("status", submission)
    assert re.search(rf"^{submission} +local +open +care +RANDOM 3 +4 +1 +0 +0 +0 +0 +3 *$", status, re.M)
    counted = shell.rows("status")
    assert counted["submissions"][0]["id"] == submission
    assert [(stage["stage"], stage["consultations"]) for stage in counted["open"]] == [("waiting", 3)]

    rows = shell.rows("results", submission)
    assert [(r["line"], r["id"], r["state"], r["error_path"]) for r in rows] == [
        (1, "a", "open", None),
        (3, "b", "open", None),
        (1, "c", "open", None),
        (2, None, "set_aside", "context.age"),
    ]
    assert [r["recommendation"] for r in rows] == [None] * 4, "not known is not empty"
    lines = shell.here("results", submission, "--format", "ndjson").out.splitlines()
    assert [json.loads(line) for line in lines] == rows
    table = list(csv.DictReader(io.StringIO(shell.here("results", submission, "--format", "csv").out)))
    assert [(r["line"], r["id"], r["state"]) for r in table] == [
        (str(r["line"]), r["id"] or "", r["state"]) for r in rows
    ]
    plain = shell("results", submission).splitlines()
    assert len(plain) == 1 + 4 + 1, "heading, a line for each record however wide, what is simulated"
    assert all(row["consultation"] in line for row, line in zip(rows[:3], plain[1:4], strict=True))
    assert plain[-1].startswith("(simulated)")

    shown = shell("show", rows[0]["consultation"])
    assert "A man of seventy has had chest pain." in shown
    assert "probability 0.00455" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 120
    case = shell.rows("show", rows[0]["consultation"])
    assert case["vignette"]["context"]["allergies"] == ["penicillin"]
    assert [answer["state"] for answer in case["answers"]] == ["owed"] * 3
    assert all(answer["simulated"] for answer in case["answers"])


def test_standard_input_and_strict(shell: Shell) -> None:
    """`-` reads standard input; with --strict one bad record stores nothing, and each bad one is told."""
    bad = record("a") + "{\n" + record("b") + "[]\n"
    refused = shell.run("submit", "-", "--strict", stdin=bad)
    assert (refused.code, refused.out) == (3, "")
    assert [line.split(":")[0] for line in refused.err.splitlines()] == ["line 2", "line 4", "consilium"]
    assert shell.rows("status")["submissions"] == []
    receipt = shell.rows("submit", "-", "--strict", stdin=record("a") + record("b"))[0]
    assert (receipt["accepted"], receipt["set_aside"], receipt["errors"]) == (2, 0, [])


def test_an_idempotency_key(shell: Shell) -> None:
    """The same key and content: the first receipt, its errors and its exit code; other content is refused."""
    words = ("submit", "-", "--idempotency-key", "monday")
    body = record("a") + "{\n"
    first, again = (shell.rows(*words, stdin=body, code=6)[0] for _ in range(2))
    assert (first.pop("repeated"), again.pop("repeated")) == (False, True)
    assert first == again
    assert "new key" in shell.fails(*words, stdin=record("b"), code=4)


def test_sources(shell: Shell) -> None:
    """A source's policy is shown for all, holds at the draw, and its name comes once."""
    said = shell("sources", "add", "ward", "--allow", "local", "--deny", "sim-fir-7b")
    assert said == "source ward: local models may read its patients\n"
    assert "named 'ward' already" in shell.fails("sources", "add", "ward", code=2)
    listed = {s["name"]: s for s in shell.rows("sources", "list")}
    assert {name: (s["allow"], s["deny"]) for name, s in listed.items()} == {
        "local": (["local", "simulated"], []),
        "ward": (["local"], ["sim-fir-7b"]),
    }
    assert len(shell.here("sources", "list", "--format", "csv").out.splitlines()) == 3
    few = shell.fails("submit", "-", "--source", "ward", "--n", "7", stdin=record("a"), code=5)
    assert "allow more models for this source" in few
    assert "consilium sources add" in shell.fails("submit", "-", "--source", "x", stdin=record("a"), code=2)
    assert "local, simulated, remote" in shell.fails("sources", "add", "y", "--allow", "anyone", code=2)
    for name in ("St Mary!", "", "-x", "a" * 64, "ward\n"):
        assert "letters, digits" in shell.fails("sources", "add", "--", name, code=2)


def test_a_nudge_is_sent_and_may_be_lost(shell: Shell, services: Services, closed_port: int) -> None:
    """With the broker away a batch is accepted all the same, and the command says so."""
    with redis.Redis.from_url(services.addresses.broker_url) as broker:
        before = broker.llen(NUDGE_QUEUE)
        shell("submit", "-", stdin=record("ZEBRA-1"))
        assert broker.llen(NUDGE_QUEUE) == before + 1
        assert b"ZEBRA" not in broker.lindex(NUDGE_QUEUE, 0)
    done = shell.run(
        "submit", "-", stdin=record("ZEBRA-2"), CONSILIUM_BROKER_URL=f"redis://127.0.0.1:{closed_port}/0"
    )
    assert done.code == 0
    assert done.err == "the broker is away: all is stored, and work begins when it is back\n"
    assert "1 records, 1 accepted, 0 set aside" in done.out
    assert len(shell.rows("status")["submissions"]) == 2


def test_models(shell: Shell) -> None:
    """The registry as a table and for programs; a price that is not known is no zero."""
    models = shell.rows("models")
    assert len(models) == 12
    assert all(model["simulated"] for model in models)
    assert len(shell("models").splitlines()) == 1 + 12
    shell.file("models.toml", re.sub(r"usd_per_mtok_in = .*\n", "", models_toml()))
    assert {row["usd_per_mtok_in"] for row in shell.rows("models")} == {None}
    shell.file("models.toml", "[models.sim-x]\nprovider = 'p'\n")
    assert "models.toml:1: models.sim-x.family: is required; add it" in shell.fails("models", code=2)


WRONG: list[tuple[str, int, dict[str, str], str]] = [
    ("status", 7, {"CONSILIUM_DATABASE_URL": "AWAY"}, "is `consilium up` running"),
    ("submit -", 7, {"CONSILIUM_DATABASE_URL": "AWAY"}, "nothing was acknowledged"),
    ("models check", 7, {"CONSILIUM_DATABASE_URL": "AWAY"}, "is `consilium up` running"),
    ("models check", 7, {"CONSILIUM_BROKER_URL": "AWAY"}, "is `consilium up` running"),
    ("status", 2, {"CONSILIUM_DATABASE_URL": "EMPTY"}, "`consilium up` makes them"),
    ("status", 7, {"CONSILIUM_DATABASE_URL": "NOWHERE"}, "there is no such database or user"),
    ("status", 2, {"CONSILIUM_DATABASE_URL": "mysql://h/x"}, "it must begin with postgresql://"),
    (f"status {UNKNOWN}", 8, {}, "see `consilium status`"),
    (f"results {UNKNOWN}", 8, {}, "see `consilium status`"),
    (f"show {UNKNOWN}", 8, {}, "see `consilium results SUBMISSION`"),
    ("submit missing.ndjson", 2, {}, "missing.ndjson cannot be read"),
    ("submit .", 2, {}, "cannot be read: Is a directory"),
    ("submit - --priority high", 2, {}, "--priority is one of urgent, routine, background"),
    ("submit - --purpose fun", 2, {}, "--purpose is one of care, evaluation, training, demo"),
    ("submit - --strategy best", 2, {}, "--strategy is one of LOCAL, REMOTE, RANDOM"),
    ("submit - --strategy fixed", 2, {}, "give both or neither"),
    ("submit - --models sim-a,sim-b", 2, {}, "give both or neither"),
    ("submit - --idempotency-key=", 2, {}, "a key of its own"),
    ("submit -", 2, {"CONSILIUM_SITE_KEY": "c2hvcnQ="}, "openssl rand -base64 32"),
    ("submit -", 2, {"CONSILIUM_WINDOW": "many"}, "CONSILIUM_WINDOW: Input should be a valid integer"),
    *(
        ("submit -", 2, {"unset": f"CONSILIUM_{name}"}, f"CONSILIUM_{name} is not set")
        for name in ("DATABASE_URL", "BROKER_URL", "SITE_KEY", "MODELS_FILE")
    ),
]


def test_what_went_wrong_is_one_sentence_with_the_next_step(
    shell: Shell, empty_database_url: str, closed_port: int
) -> None:
    """Each kind has an exit code that means something, and nothing has been stored."""
    for words, code, environ, said in WRONG:
        scheme = "redis" if "CONSILIUM_BROKER_URL" in environ else "postgresql"
        stand_ins = {"AWAY": f"{scheme}://127.0.0.1:{closed_port}/0", "EMPTY": empty_database_url}
        stand_ins["NOWHERE"] = empty_database_url.replace("consilium_empty", "consilium_nowhere")
        changed = {name: stand_ins.get(value, value) for name, value in environ.items()}
        assert said in shell.fails(*words.split(), code=code, stdin=record("a"), **changed), words
    assert shell.rows("status")["submissions"] == []


def test_as_a_process_an_error_is_the_same(shell: Shell) -> None:
    """The installed command's standard error, exit code, and a mistyped line's, plain."""
    missing = shell.run("status", UNKNOWN)
    assert (missing.code, missing.out) == (8, "")
    assert missing.err == f"consilium: no submission {UNKNOWN}: see `consilium status`\n"
    mistyped = shell.run("status", "not-an-id")
    assert (mistyped.code, mistyped.out) == (2, "")
    assert "Error: Invalid value for 'submission': Input should be a valid UUID" in mistyped.err
    assert "consilium status --help" in mistyped.err


def test_what_up_has_from_its_environment_is_asked_for(shell: Shell) -> None:
    """It stands in no connection.env: a second terminal is not told that nothing runs."""
    home = shell.folder / "home"
    home.mkdir()
    (home / "connection.env").write_text("CONSILIUM_FLOWER_URL=http://127.0.0.1:1\n", encoding="utf-8")
    said = shell.fails("submit", "-", code=2, stdin=record("a"), unset="CONSILIUM_SITE_KEY")
    assert "CONSILIUM_SITE_KEY is not set" in said
    said = shell.fails("submit", "-", code=2, stdin=record("a"), unset="CONSILIUM_DATABASE_URL")
    assert f"CONSILIUM_DATABASE_URL is not set, nor in {home}/connection.env" in said


def test_the_version(shell: Shell) -> None:
    """One line, for a report of a fault."""
    assert shell("--version") == f"consilium {metadata.version('consilium')}\n"


def test_ctrl_c_while_a_command_is_imported_ends_it_quietly(shell: Shell) -> None:
    """No traceback: an import that is interrupted is no bug."""
    (shell.folder / "typer.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    done = shell.run("status", PYTHONPATH=str(shell.folder))
    assert (done.code, done.out, done.err) == (130, "", "")


def test_every_command_is_listed_and_is_there(shell: Shell) -> None:
    """`--help` imports none of them; each is imported when it is the one that is asked for."""
    listed = shell("--help").partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert [" ".join(line.split()[1:]) for line in listed] == list(COMMANDS.values()), "none is cut off"
    for name in COMMANDS:
        command: Any = get_command(application(name))
        assert list(command.commands) == [name]
        assert command.commands[name].get_short_help_str()
    assert "the command comes first" in shell.fails("--", "status", code=SettingsError.exit_code)


def test_a_pipe_that_cannot_be_read_twice(shell: Shell) -> None:
    """A file that is a pipe is read once: what a shell makes of <(zcat …)."""
    os.mkfifo(shell.folder / "pipe")
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit((shell.folder / "pipe").write_text, record("a"))
        assert "1 accepted" in shell("submit", "pipe")
        writing.result()
