"""Processes forked from one that has imported what they need, with small modules in place of workers."""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embedded.fork_server import ForkServer
from embedded.process import Child, ending

SEEN = """
    import decimal, json, os, sys
    print(json.dumps([sys.argv[1:], __name__, os.environ["WHO"], "ONLY_OURS" in os.environ, os.getcwd()]))
    print(os.getsid(0) == os.getpid(), sys.stdin.read(), file=sys.stderr)
    print(len(os.listdir("/proc/self/fd")))
    sys.exit(7)
"""
SERVE = "import signal; print('serving'); signal.pause()"


@pytest.fixture
def forks() -> Iterator[ForkServer]:
    """A server with one module loaded."""
    made = ForkServer(["decimal"])
    yield made
    made.close()


class Started:
    """One child of a module that is written for it, and its lines; None after the last."""

    def __init__(self, forks: ForkServer, folder: Path, code: str, *words: str, stdin: str = "") -> None:
        (folder / "small.py").write_text(textwrap.dedent(code))
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.child = Child(
            ["small", *words],
            env={"PYTHONPATH": str(folder), "WHO": "the child"},
            cwd=folder,
            on_line=lambda _, line: self.lines.put(line),
            stdin=stdin,
            forks=forks,
        )

    def line(self) -> str:
        """Its next line."""
        return self.lines.get(timeout=20)


def test_a_child_has_its_own_arguments_environment_folder_and_streams(
    forks: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is `python -m small one`, in a session of its own, and inherits no file; its exit code is told."""
    monkeypatch.setenv("ONLY_OURS", "1")
    for _ in range(2):  # the second one inherits nothing of the first
        started = Started(forks, tmp_path, SEEN, "one", stdin="a secret")
        assert started.line() == f'[["one"], "__main__", "the child", false, "{tmp_path}"]'
        assert started.line() == "True a secret"
        assert started.line() == "4"  # its streams, and the one it lists them by
        assert started.child.wait() == 7


def test_a_child_shares_what_is_imported(forks: ForkServer, tmp_path: Path) -> None:
    """The server's modules are there before the child's first line; others are not."""
    started = Started(forks, tmp_path, "import sys; print('decimal' in sys.modules, 'wave' in sys.modules)")
    assert started.line() == "True False"
    assert started.child.wait() == 0


def test_what_a_child_raises_ends_it_alone(forks: ForkServer, tmp_path: Path) -> None:
    """Its traceback is among its lines; the server goes on."""
    started = Started(forks, tmp_path, "raise ValueError('no such table')")
    assert started.child.wait() == 1
    lines = [started.line()]
    while not lines[-1].startswith("ValueError"):
        lines.append(started.line())
    assert lines[-1] == "ValueError: no such table"
    assert Started(forks, tmp_path, "").child.wait() == 0


def test_a_killed_child_takes_its_own_along(forks: ForkServer, tmp_path: Path) -> None:
    """Its group is killed, its ending is told, and its process id is free afterwards."""
    code = "import os, time; child = os.fork()\nif child: print(child); " + SERVE
    started = Started(forks, tmp_path, code + "\nelse: time.sleep(1000)")
    grandchild = os.pidfd_open(int(started.line()))
    started.child.kill()
    assert ending(started.child.wait()) == "signal 9 (SIGKILL)"
    assert select.select([grandchild], [], [], 20)[0], "the grandchild lives on"
    os.close(grandchild)
    started.child.signal(signal.SIGTERM)  # nobody's


def test_a_signal_reaches_the_child(forks: ForkServer, tmp_path: Path) -> None:
    """SIGTERM and SIGINT do what they do to any process of Python."""
    for number, code in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)):
        started = Started(forks, tmp_path, SERVE)
        assert started.line() == "serving"
        started.child.signal(number)
        assert started.child.wait() == code


def test_a_killed_server_takes_its_children_along_and_the_next_order_starts_another(
    forks: ForkServer, tmp_path: Path
) -> None:
    """Whoever waits for them is told."""
    started = Started(forks, tmp_path, "import os; print(os.getppid())\n" + SERVE)
    server = int(started.line())
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(started.child.wait)
        os.kill(server, signal.SIGKILL)
        assert ending(waiting.result(20)) == "signal 9 (SIGKILL)"
    while True:  # the first order after its death may still find it dying
        try:
            again = Started(forks, tmp_path, "import os; print(os.getppid())")
        except OSError:
            continue
        break
    assert int(again.line()) != server
    assert again.child.wait() == 0


def test_a_module_that_cannot_be_imported_is_an_error_of_the_order(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The order fails, and the reason stands on standard error."""
    forks = ForkServer(["no_such_module"])
    with pytest.raises(OSError):
        Started(forks, tmp_path, SERVE)
    forks.close()
    assert "No module named 'no_such_module'" in capfd.readouterr().err


def test_a_closed_server_forks_nothing(forks: ForkServer, tmp_path: Path) -> None:
    """Closing ends it and its children; an order is refused then."""
    started = Started(forks, tmp_path, SERVE)
    assert started.line() == "serving"
    forks.close()
    assert ending(started.child.wait()) == "signal 9 (SIGKILL)"
    with pytest.raises(OSError, match="closed"):
        Started(forks, tmp_path, SERVE)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_die_with_whoever_ordered_them(how: signal.Signals, tmp_path: Path) -> None:
    """Whatever kills the ordering process, its server and what that forked do not outlive it."""
    code = f"""
        import signal
        from pathlib import Path
        from embedded.fork_server import ForkServer
        from tests.embedded.test_fork_server import SERVE, Started
        forks = ForkServer([])  # which lives as long as somebody holds it
        started = Started(forks, Path({str(tmp_path)!r}), SERVE)
        started.line()
        print(started.child.pid, flush=True)
        signal.pause()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = os.pidfd_open(int(parent.stdout.readline()))
        assert not select.select([child], [], [], 0)[0], "the child has ended"
        parent.send_signal(how)
        parent.wait()
        assert select.select([child], [], [], 20)[0], "the child lives on"
        os.close(child)
