"""A set of named processes: started, read line by line, restarted when they die, stopped in stages."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path

from embedded.fork_server import ForkServer
from embedded.process import Child, ending
from embedded.spawn import User
from shared.errors import ConsiliumError

Echo = Callable[[str, str], None]  # name, line

_BACKOFF_S = (0.1, 10.0)  # the first wait before a restart, and the longest; it doubles
_STEADY_S = 10.0  # whoever lived this long starts again with the first wait
_EARLY_DEATHS = 3  # so many before it was ever ready: waiting for it is given up
_LOG_BYTES = 20_000_000  # per process; one older file is kept


class ProcessError(ConsiliumError):
    """A process of the set does not come up; the message names it, why, and its log."""


@dataclass(frozen=True)
class Spec:
    """How to run one process of the set.

    `ready` is a pattern found in the line it prints once it serves; empty: it does as soon as it runs. A
    lower `stage` is stopped earlier. `env` is the whole environment; it and `stdin` are where secrets go,
    never `argv`, which is a program and its arguments, or a module and its with `forks`.
    """

    name: str
    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str] = field(repr=False)
    ready: str
    stage: int
    stdin: str = field(default="", repr=False)
    user: User | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    forks: ForkServer | None = None


class _Member:
    """One name of the set: a thread that runs its process again and again until told to stop."""

    def __init__(self, spec: Spec, log: Path, echo: Echo | None) -> None:
        self.spec = spec
        self.ready = threading.Event()
        self.gone = threading.Event()
        self.child: Child | None = None
        self.early_deaths = 0
        self.last_ending = ""
        self._down_s = 0.0
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        self._ready_line = re.compile(spec.ready)
        self._echo = echo
        self._log = RotatingFileHandler(log, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
        self.last_line = ""
        threading.Thread(target=self._run, name=f"watch {spec.name}", daemon=True).start()

    def _run(self) -> None:
        delay = _BACKOFF_S[0]
        while not self._stopping.is_set():
            started = time.monotonic()
            how = self._run_once()
            if self._stopping.is_set():
                break
            if time.monotonic() - started >= _STEADY_S:
                delay = _BACKOFF_S[0]
            wait_s, self._down_s = max(delay, self._down_s), 0.0
            self._say(f"*** ended with {how}; starts again in {wait_s:g} s")
            self._stopping.wait(wait_s)
            delay = min(2 * delay, _BACKOFF_S[1])
        self._log.close()
        self.gone.set()

    def _run_once(self) -> str:
        try:
            with self._lock:
                if self._stopping.is_set():
                    return "nothing: it was stopped"
                self.child = Child(
                    self.spec.argv,
                    env=self.spec.env,
                    cwd=self.spec.cwd,
                    on_line=self._line,
                    stdin=self.spec.stdin,
                    user=self.spec.user,
                    death_signal=self.spec.death_signal,
                    forks=self.spec.forks,
                )
                if not self.spec.ready:
                    self.ready.set()
            how = ending(self.child.wait())
        except OSError as error:
            how = f"no start: {error.strerror}"
        with self._lock:
            self.child = None
            self.early_deaths += not self.ready.is_set()
            self.ready.clear()
            self.last_ending = how
        return how

    def _line(self, child: Child, line: str) -> None:
        self.last_line = line.strip() or self.last_line
        self._say(line)
        if self._ready_line.search(line):
            with self._lock:
                if child is self.child and not child.killed:
                    self.early_deaths = 0
                    self.ready.set()

    def _say(self, line: str) -> None:
        self._log.handle(LogRecord(self.spec.name, 0, "", 0, line, None, None))
        if self._echo is not None:
            self._echo(self.spec.name, line)

    def signal(self, number: signal.Signals) -> None:
        with self._lock:
            if self.child is not None:
                self.child.signal(number)

    def kill(self, down_s: float = 0.0) -> None:
        with self._lock:
            if self.child is not None:
                self._down_s = down_s
                self.child.kill()
                self.ready.clear()

    def stop(self) -> None:
        """Ask it to end, and start it no more."""
        self._stopping.set()
        self.signal(self.spec.stop_signal)


class Supervisor:
    """The set. `logs` is the folder of NAME.log; `echo` is called with each line from threads of its own."""

    def __init__(self, logs: Path, echo: Echo | None = None) -> None:
        self._logs = logs
        self._echo = echo
        self._members: dict[str, _Member] = {}

    @property
    def names(self) -> list[str]:
        """The names of the processes of the set, in the order of their start."""
        return list(self._members)

    def start(self, spec: Spec) -> None:
        """Start a process and keep it running; returns at once."""
        if spec.name in self._members:
            raise ValueError(f"{spec.name} is in the set already")
        self._members[spec.name] = _Member(spec, self._logs / f"{spec.name}.log", self._echo)

    def wait_ready(self, names: Collection[str] | None = None, *, timeout_s: float = 60) -> None:
        """Wait until each of `names` (all by default) has said that it serves.

        Raises `ProcessError` when one died three times before it did, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        for name in self.names if names is None else names:
            member = self._members[name]
            while not member.ready.wait(0.1):
                if member.early_deaths >= _EARLY_DEATHS:
                    raise self._error(
                        member, f"ended {_EARLY_DEATHS} times ({member.last_ending}) before it was ready"
                    )
                if time.monotonic() > deadline:
                    raise self._error(member, f"is not ready after {timeout_s:g} s")

    def _error(self, member: _Member, what: str) -> ProcessError:
        name = member.spec.name
        return ProcessError(f"{name} {what}; its log is {self._logs / name}.log and ends: {member.last_line}")

    def pid(self, name: str) -> int | None:
        """The process id now; None while it waits for its restart."""
        child = self._members[name].child
        return child.pid if child is not None else None

    def kill(self, name: str, *, down_s: float = 0.0) -> None:
        """SIGKILL a process and its children, as an accident would; it stays down for `down_s` at least.

        `wait_ready` tells when it is back.
        """
        self._members[name].kill(down_s)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Signal one process itself; if it ends of that, it is restarted."""
        self._members[name].signal(number)

    def stop(self, names: Collection[str] | None = None, *, deadline: float) -> None:
        """Stop the given processes (all by default), stage after stage, and forget them.

        `deadline` is a time of `time.monotonic()`: what still runs then is killed.
        """
        wanted = [m for name, m in self._members.items() if names is None or name in names]
        for stage in sorted({member.spec.stage for member in wanted}):
            members = [member for member in wanted if member.spec.stage == stage]
            for member in members:
                member.stop()
            for member in members:
                if not member.gone.wait(max(0.0, deadline - time.monotonic())):
                    member.kill()
            for member in members:
                member.gone.wait()
                del self._members[member.spec.name]

    def kill_all(self) -> None:
        """SIGKILL everything and restart nothing, from a signal handler too; `stop` is still to be called."""
        for member in list(self._members.values()):
            member.stop()
            member.kill()
