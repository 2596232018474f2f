"""The supervised set, with small programs in place of servers."""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.process import Child, end_orphans, ending, raise_file_limit
from embedded.supervisor import ProcessError, Spec, Supervisor

SERVE = "import signal; print('serving', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); " + SERVE + "\nwhile True: signal.pause()"


def spec(name: str, code: str, **more: object) -> Spec:
    """A program of the set that is ready when it prints "serving"."""
    made: dict[str, object] = {
        "cwd": Path("/"),
        "env": dict(os.environ),
        "ready": "^serving$",
        "stage": 0,
    } | more
    return Spec(name=name, argv=[sys.executable, "-c", code], **made)  # type: ignore[arg-type]


class Lines:
    """Collects echoed lines; `wait_for` blocks until one holds the text."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._new: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def __call__(self, name: str, line: str) -> None:
        self._new.put((name, line))

    def wait_for(self, text: str) -> tuple[str, str]:
        """The next line that holds `text`."""
        while True:
            self.seen.append(self._new.get(timeout=20))
            if text in self.seen[-1][1]:
                return self.seen[-1]


@pytest.fixture
def lines() -> Lines:
    """What the set prints."""
    return Lines()


@pytest.fixture
def supervisor(tmp_path: Path, lines: Lines) -> Iterator[Supervisor]:
    """An empty set, stopped at the end whatever happens."""
    made = Supervisor(tmp_path, lines)
    yield made
    made.stop(deadline=time.monotonic())


def test_lines_carry_the_name_and_are_logged(supervisor: Supervisor, lines: Lines, tmp_path: Path) -> None:
    """Both streams come line by line under the name of their process, on the screen and in its log."""
    code = "import sys; print('to err', file=sys.stderr, flush=True); " + SERVE
    supervisor.start(spec("one", code))
    supervisor.wait_ready()
    assert lines.wait_for("to err") == ("one", "to err")
    assert (tmp_path / "one.log").read_text().splitlines() == ["to err", "serving"]


def test_a_killed_process_is_restarted_and_says_why(supervisor: Supervisor, lines: Lines) -> None:
    """After SIGKILL a process is there again under a new id, and the reason names the signal."""
    supervisor.start(spec("one", SERVE))
    supervisor.wait_ready()
    before = supervisor.pid("one")
    supervisor.kill("one")
    supervisor.wait_ready()
    assert "signal 9 (SIGKILL)" in lines.wait_for("***")[1]
    assert supervisor.pid("one") not in (None, before)


def test_restarts_back_off_and_name_the_exit_code(supervisor: Supervisor, lines: Lines) -> None:
    """A process that keeps ending is started again with doubling waits."""
    supervisor.start(spec("one", "raise SystemExit(7)"))
    said = [lines.wait_for("***")[1] for _ in range(3)]
    assert said == [f"*** ended with exit code 7; starts again in {wait} s" for wait in ("0.1", "0.2", "0.4")]


def test_waiting_for_one_that_never_comes_up_fails_with_its_words(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """Waiting ends with an error that holds the name, the reason, the last words and the log's path."""
    supervisor.start(spec("one", "raise SystemExit('no such table')"))
    with pytest.raises(ProcessError, match=r"one ended 3 times \(exit code 1\).*one\.log.*no such table"):
        supervisor.wait_ready()


def test_a_program_that_cannot_be_run_is_named(supervisor: Supervisor) -> None:
    """A missing program or folder is an ending like another, with its reason."""
    supervisor.start(Spec("one", ["/nowhere/server"], Path("/"), {}, "x", 0))
    supervisor.start(Spec("two", ["true"], Path("/nowhere"), {}, "x", 0))
    with pytest.raises(ProcessError, match="cannot run /nowhere/server: No such file"):
        supervisor.wait_ready(["one"])
    with pytest.raises(ProcessError, match="no start: No such file"):
        supervisor.wait_ready(["two"])


def test_stop_goes_stage_by_stage(supervisor: Supervisor, lines: Lines) -> None:
    """Nobody of a later stage gets its signal before the earlier stage is gone."""
    code = """
        import os, signal, sys
        def end(*_):
            print(sys.argv[0], "ends", flush=True)
            sys.exit()
        signal.signal(signal.SIGTERM, end)
        print("serving", flush=True)
        while True: signal.pause()
    """
    for stage, name in [(2, "server"), (0, "worker"), (1, "monitor")]:
        supervisor.start(spec(name, textwrap.dedent(code), stage=stage))
    supervisor.wait_ready()
    supervisor.stop(deadline=time.monotonic() + 20)
    assert [lines.wait_for(" ends")[0] for _ in range(3)] == ["worker", "monitor", "server"]
    assert supervisor.names == []


def test_what_ignores_the_signal_is_killed_at_the_deadline(supervisor: Supervisor) -> None:
    """A process that does not end by itself is gone after the deadline all the same."""
    supervisor.start(spec("one", STUBBORN))
    supervisor.wait_ready()
    pid = supervisor.pid("one")
    supervisor.stop(deadline=time.monotonic() + 0.2)
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_kill_all_ends_a_stop_under_way(supervisor: Supervisor) -> None:
    """The second Ctrl-C: a stop that waits for a stubborn process returns at once."""
    supervisor.start(spec("one", STUBBORN))
    supervisor.wait_ready()
    stopping = threading.Thread(target=lambda: supervisor.stop(deadline=time.monotonic() + 100))
    stopping.start()
    supervisor.kill_all()
    stopping.join(timeout=30)
    assert not stopping.is_alive()


def test_kill_takes_the_children_along(supervisor: Supervisor, lines: Lines) -> None:
    """Killing a process kills what it forked, so that a restarted worker has no second self."""
    code = "import os, time; child = os.fork()\nif child: print(f'child {child}', flush=True); " + SERVE
    supervisor.start(spec("one", code + "\nelse: time.sleep(1000)"))
    supervisor.wait_ready()
    child = os.pidfd_open(int(lines.wait_for("child ")[1].split()[1]))
    supervisor.kill("one")
    assert select.select([child], [], [], 20)[0], "the grandchild lives on"
    os.close(child)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_die_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    """Whatever kills the supervising process, no process of the set outlives it."""
    code = f"""
        import signal, sys, threading
        from pathlib import Path
        from embedded.supervisor import Spec, Supervisor
        from tests.embedded.test_supervisor import STUBBORN, spec
        def begin():  # in a thread that ends: Linux takes the thread that forked for the parent
            s.start(spec("one", STUBBORN))
            s.wait_ready()
        s = Supervisor(Path({str(tmp_path)!r}))
        thread = threading.Thread(target=begin); thread.start(); thread.join()
        print(s.pid("one"), flush=True)
        signal.pause()
    """
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = os.pidfd_open(int(parent.stdout.readline()))
        assert not select.select([child], [], [], 0)[0], "the child died with the thread that started it"
        parent.send_signal(how)
        parent.wait()
        assert select.select([child], [], [], 20)[0], "the child lives on"
        os.close(child)


def test_orphans_are_found_by_their_folder(place: Path) -> None:
    """Only processes that work in the folder are ended, also those that ignore the polite signal."""
    inside, outside = place / "in", place / "out"
    inside.mkdir()
    outside.mkdir()
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    children = [
        Child([sys.executable, "-c", code], env={}, cwd=folder, on_line=lambda _, line: heard.put(line))
        for code, folder in [(SERVE, inside), (STUBBORN, inside), (SERVE, outside)]
    ]
    for _ in children:
        assert heard.get(timeout=20) == "serving"
    reaped = [threading.Thread(target=child.wait) for child in children[:2]]
    for thread in reaped:
        thread.start()
    assert end_orphans(inside, signal.SIGTERM, grace_s=0.5) == 2
    for thread in reaped:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in reaped)
    os.kill(children[2].pid, 0)
    children[2].kill()
    assert ending(children[2].wait()) == "signal 9 (SIGKILL)"


def test_the_file_limit_is_raised_for_children_too() -> None:
    """After raising, a child's soft limit is the one we were told, and not below the one before."""
    code = """
        import resource, subprocess, sys
        from embedded.process import raise_file_limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        told = raise_file_limit()
        child = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
        print(told, subprocess.check_output([sys.executable, "-c", child], text=True))
    """
    out = subprocess.check_output([sys.executable, "-c", textwrap.dedent(code)], text=True).split()
    assert out[0] == out[1]
    assert int(out[0]) > 256
    assert raise_file_limit() == raise_file_limit()
