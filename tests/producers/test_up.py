"""`consilium up` and the set of processes behind it, for real."""

from __future__ import annotations

import os
import queue
import re
import select
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from embedded.services import Services
from producers.cli.stack import DOORS, Stack, commands, real_models
from shared.errors import SettingsError
from tests.homes import home_of

UP = [sys.executable, "-c", "from producers.cli import main; main()", "up", "--time-scale", "0.01"]


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder that every user may enter, with a space in its name."""
    with home_of("with space ") as made:
        yield made


class Up:
    """A running `consilium up`: its lines as they come."""

    def __init__(self, home: Path, *options: str, **environ: str) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CONSILIUM_")}
        self.process = subprocess.Popen(
            [*UP, *options],
            env={**kept, "CONSILIUM_HOME": str(home), **environ},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._new: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            for line in pipe:
                self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The next line in which `pattern` is found."""
        while (line := self._new.get(timeout=60)) is not None:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"ended without {pattern!r}:\n" + "\n".join(self.lines[-40:]))

    def children(self) -> list[int]:
        """Handles of all processes below it, which tell when they are gone."""
        found, parents = [], [self.process.pid]
        while parents:
            for task in Path(f"/proc/{parents.pop()}/task").glob("*"):
                below = [int(pid) for pid in (task / "children").read_text().split()]
                found += below
                parents += below
        return [os.pidfd_open(pid) for pid in found]


@pytest.fixture
def up(place: Path) -> Iterator[Up]:
    """`consilium up`, all its processes ready."""
    running = Up(place / "home")
    try:
        running.wait_for("^Consilium is up")
        yield running
    finally:
        children = running.children() if running.process.poll() is None else []
        running.process.kill()
        running.process.wait()
        _assert_gone(children)  # before their folder goes


def _command_line(handle: int) -> str:
    """What a process runs; empty if it has ended."""
    pid = re.findall(r"^Pid:\s+(\d+)", Path(f"/proc/self/fdinfo/{handle}").read_text(), re.M)
    path = Path(f"/proc/{pid[0]}/cmdline") if pid else Path("/nowhere")
    return path.read_text().replace("\0", " ") if path.exists() else ""


def _assert_gone(handles: list[int]) -> None:
    for handle in handles:
        assert select.select([handle], [], [], 20)[0], "a process lives on"
        os.close(handle)


@pytest.mark.slow
def test_a_killed_worker_comes_back_and_the_second_ctrl_c_kills(up: Up) -> None:
    """A worker killed with -9 is restarted and says why; a second signal ends all processes at once."""
    children = up.children()
    for handle in children:
        if "models-2@" in _command_line(handle):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    up.wait_for(r"^models-2 +\| \*\*\* ended with signal 9 \(SIGKILL\); starts again in 0\.1 s")
    up.wait_for(r"^models-2 .*ready\.$")
    children += up.children()
    for handle in children:  # the workers hear nothing any more: only SIGKILL ends them
        if "workers.app worker" in _command_line(handle):
            signal.pidfd_send_signal(handle, signal.SIGSTOP)
    up.process.send_signal(signal.SIGTERM)
    while up.process.poll() is None:
        up.process.send_signal(signal.SIGINT)
        select.select([], [], [], 0.1)
    up.wait_for("^Stopped. How many paid calls were given up is not known")  # the database was killed too
    _assert_gone(children)


@pytest.mark.slow
def test_nothing_outlives_a_killed_up_and_the_next_one_goes_on(up: Up, place: Path) -> None:
    """kill -9 of `up` alone ends all it started, pool children too; the next `up` on the folder works, and
    refuses a second one beside it. Flower wants its password and sees the workers; Ctrl-C leaves no process
    and says what was given up."""
    children = up.children()
    assert len(children) > 10
    up.process.kill()
    up.process.wait()
    _assert_gone(children)
    again = Up(place / "home")
    try:
        again.wait_for("^Consilium is up")
        _serves_and_ends(again, place / "home")
    finally:
        again.process.kill()  # what it started goes with it
        again.process.wait()


def _serves_and_ends(up: Up, home: Path) -> None:
    url, user, password = up.wait_for(r"Flower +(\S+) +user (\S+), password (\S+)").groups()
    up.wait_for("Ctrl-C stops")
    second = Up(home)
    second.wait_for(rf"in use by .*process {up.process.pid}")
    assert second.process.wait() == SettingsError.exit_code
    assert httpx.get(f"{url}/api/workers").status_code == 401
    assert httpx.get(f"{url}/api/workers", auth=(user, "wrong")).status_code == 401
    names: set[str] = set()
    while len(names) < 5:  # Flower takes who answers it within a second; pytest's limit ends this
        seen = httpx.get(f"{url}/api/workers?refresh=1", auth=(user, password), timeout=30)
        assert seen.status_code == 200
        names |= {name.split("@")[0] for name in seen.json()}
    assert names == {"models-1", "models-2", "urgent", "conclude", "quarantine"}
    connection = home / "connection.env"
    assert stat.S_IMODE(connection.stat().st_mode) == 0o600
    assert f"CONSILIUM_FLOWER_URL='{url}'" in connection.read_text()
    children = up.children()
    assert len(children) > 10
    up.process.send_signal(signal.SIGINT)
    up.wait_for("^Stopped. No paid call was given up")
    assert up.process.wait() == 0
    _assert_gone(children)
    assert not connection.exists()


@pytest.mark.slow
def test_the_stack_as_a_library_on_given_servers(place: Path, services: Services, database_url: str) -> None:
    """With addresses given, no server is started; a killed process is ready again when it is waited for."""
    given = {
        "database_url": database_url,
        "broker_url": services.addresses.broker_url,
        "site_key": services.addresses.site_key,
    }
    panel = ["--faults", "off"]
    with Stack(place / "home", given, workers=1, panel_options=panel, without=DOORS) as stack:
        stack.wait_ready()
        assert {"postgres", "redis"} & set(stack.names) == set()
        before = stack.pid("conclude")
        stack.kill("conclude")
        stack.wait_ready(["conclude"])
        assert stack.pid("conclude") not in (None, before)
        assert stack.panel_url is not None
        assert httpx.get(f"{stack.panel_url}/models").status_code < 500
    assert stack.given_up == 0


def test_command_lines_serve_every_queue_and_hold_no_secret() -> None:
    """Each queue of the design has a worker; queues of urgent work have one of their own."""
    lines = commands(Path("/h"), workers=3, model_slots=7, flower_port=1, metrics_port=2, api_port=3)
    queues = {
        name: argv[argv.index("-Q") + 1].split(",") for name, (argv, _) in lines.items() if "-Q" in argv
    }
    assert {q for served in queues.values() for q in served} == {
        *("remote", "remote.urgent", "local", "local.urgent"),
        *("conclude", "periodic", "quarantine"),
    }
    assert queues["urgent"] == ["remote.urgent", "local.urgent"]
    assert [name for name in lines if name.startswith("models-")] == ["models-1", "models-2", "models-3"]
    assert not any("://" in part for argv, _ in lines.values() for part in argv)


def test_real_models_on_the_embedded_database_want_a_yes(place: Path) -> None:
    """Real models and no database of one's own: refused with a sentence that names the option."""
    (place / "models.toml").write_text("[models.one]\nsimulated = true\n[models.two]\n")
    assert real_models(place / "models.toml") == ["two"]
    running = Up(place / "home", CONSILIUM_MODELS_FILE=str(place / "models.toml"))
    running.wait_for("--yes-embedded")
    assert running.process.wait() == SettingsError.exit_code


def test_a_models_file_that_cannot_be_read_is_named(place: Path) -> None:
    """The error names the variable, the file, and where it is broken."""
    with pytest.raises(SettingsError, match=r"CONSILIUM_MODELS_FILE: cannot read .*none\.toml: No such file"):
        real_models(place / "none.toml")
    (place / "bad.toml").write_text("[models.one]\nx = \n")
    with pytest.raises(SettingsError, match=r"bad\.toml: .*line 2"):
        real_models(place / "bad.toml")


def test_without_panel_a_models_file_is_wanted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--no-panel` alone leaves nobody to ask."""
    monkeypatch.delenv("CONSILIUM_MODELS_FILE", raising=False)
    with pytest.raises(SettingsError, match="set CONSILIUM_MODELS_FILE"):
        Stack(place / "home", panel=False)


def test_a_bad_setting_is_named(place: Path) -> None:
    """An override out of range is an error that names the variable."""
    with pytest.raises(SettingsError, match="CONSILIUM_MODEL_SLOTS"):
        Stack(place / "home", {"model_slots": 0})
