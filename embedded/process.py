"""One child process: in a session of its own, dying with us, its output handed on line by line."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from embedded.fork_server import Forked, ForkServer
from embedded.spawn import Popen, User, spawn
from shared.errors import SettingsError

# enough for every connection here; "unlimited" would make libraries that close all descriptors crawl
_FILES = 65_536


class _Spawned:
    """A child that this process has forked itself."""

    def __init__(self, process: Popen) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self.stdin: BinaryIO = process.stdin  # type: ignore[assignment]
        self.stdout: BinaryIO = process.stdout  # type: ignore[assignment]
        self._process = process

    def await_end(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def reap(self) -> int:
        return self._process.wait()


class Child:
    """A running child. It leads a session and a process group, so a terminal's Ctrl-C does not reach it.

    `on_line` gets each line of its output, both streams merged, without the line's end. `death_signal` is
    what it gets when this process dies in whatever way. With `forks`, that server runs it: `argv` is a
    module's name and its arguments. Raises OSError if nothing can be forked.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        on_line: Callable[[Child, str], None],
        stdin: str = "",
        user: User | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        forks: ForkServer | None = None,
    ) -> None:
        self.killed = False  # by us, with SIGKILL
        self._reaped = False
        self._lock = threading.RLock()  # re-entrant: kill() is also called by signal handlers
        self._process: Forked | _Spawned
        if forks is None:
            self._process = _Spawned(spawn(argv, env=env, cwd=cwd, user=user, death_signal=death_signal))
        else:
            self._process = forks.fork(argv, env=env, cwd=cwd, death_signal=death_signal)
        self.pid = self._process.pid
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:  # it may have died at once
            pipe.write(stdin.encode())
        self._reader = threading.Thread(
            target=self._read, args=(on_line,), name=f"output of {self.pid}", daemon=True
        )
        self._reader.start()

    def _read(self, on_line: Callable[[Child, str], None]) -> None:
        with self._process.stdout as pipe:
            for line in pipe:
                on_line(self, line.decode(errors="replace").rstrip())

    def signal(self, number: signal.Signals) -> None:
        """Signal the child itself; nothing happens if it has ended."""
        with self._lock, contextlib.suppress(ProcessLookupError):  # of a fork server that has died
            if not self._reaped:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL the child and everything in its process group."""
        self.killed = True
        with self._lock, contextlib.suppress(ProcessLookupError):
            if not self._reaped:
                os.killpg(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end, kill the rest of its group, return the exit code or minus the signal."""
        # its pid must not become free for somebody else before the group is killed: look first, reap after
        self._process.await_end()
        with self._lock:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            code = self._process.reap()
            self._reaped = True
        self._reader.join(timeout=1)  # a grandchild in a session of its own may still hold the pipe
        return code


def ending(code: int) -> str:
    """How a process ended, in words: "exit code 1" or "signal 9 (SIGKILL)"."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"


def raise_file_limit() -> int:
    """Raise the soft limit of open files for us and our children; returns the limit now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def server_user() -> User | None:
    """Whom the servers run as: `nobody` if we are root (PostgreSQL refuses root), else None: ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise SettingsError(
            "PostgreSQL does not run as root and this machine has no user `nobody`: run as an ordinary user, "
            "or set CONSILIUM_DATABASE_URL and CONSILIUM_BROKER_URL to servers of your own"
        ) from None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def first_closed_folder(path: Path, user: User) -> Path | None:
    """The outermost folder on the way to `path` (itself too) that `user` may not enter, by its mode."""
    for folder in [*reversed(path.parents), path]:
        status = folder.stat()
        if status.st_uid == user.uid:
            bit = 0o100
        elif status.st_gid == user.gid:
            bit = 0o010
        else:
            bit = 0o001
        if not status.st_mode & bit:
            return folder
    return None


def _working_in(folder: Path) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == folder:
                yield int(entry.name)


def end_orphans(folder: Path, stop_signal: signal.Signals, grace_s: float = 5) -> int:
    """End servers that a killed `consilium up` left at work in `folder`; returns how many there were.

    They are found by their working directory, so a process that merely got an old pid is never touched. Each
    gets `stop_signal`, and SIGKILL after `grace_s` seconds.
    """
    folder = folder.resolve()
    found = list(_working_in(folder))
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, stop_signal)
    deadline = time.monotonic() + grace_s
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                _wait_readable(handle, deadline - time.monotonic())
                if pid in _working_in(folder):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    _wait_readable(handle, grace_s)
            finally:
                os.close(handle)
    return len(found)


def _wait_readable(handle: int, timeout_s: float) -> None:
    poll = select.poll()  # select() ends at descriptor 1024
    poll.register(handle, select.POLLIN)
    poll.poll(max(0.0, timeout_s) * 1000)
