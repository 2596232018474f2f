"""New processes: each leads a session of its own, where no Ctrl-C reaches it, and dies with us."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import NamedTuple

Popen = subprocess.Popen[bytes]
_LAUNCH = Path(__file__).with_name("launch.py")


class User(NamedTuple):
    """An ordinary user of this machine."""

    name: str
    uid: int
    gid: int


class _Forker:
    """The one thread that forks every child.

    Linux sends the parent-death signal when the *thread* that forked ends, not the process: this one lives as
    long as the interpreter.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[tuple[Callable[[], Popen], Future[Popen]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="forker", daemon=True).start()

    def _run(self) -> None:
        while True:
            order, result = self._orders.get()
            try:
                result.set_result(order())
            except Exception as error:  # noqa: BLE001 - raised again where it was ordered
                result.set_exception(error)

    def popen(self, order: Callable[[], Popen]) -> Popen:
        result: Future[Popen] = Future()
        self._orders.put((order, result))
        return result.result()


@cache
def _forker() -> _Forker:
    return _Forker()


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdin: int = subprocess.PIPE,
    stdout: int = subprocess.PIPE,
    stderr: int | None = subprocess.STDOUT,
    user: User | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> Popen:
    """Run a program, as `user` if one is given; `death_signal` is what it gets when this process dies.

    Raises OSError if nothing can be forked.
    """
    uid, gid = (user.uid, user.gid) if user else (-1, -1)
    who = map(str, (os.getpid(), int(death_signal), uid, gid))
    return _forker().popen(
        lambda: subprocess.Popen(
            [sys.executable, "-ISE", str(_LAUNCH), *who, *argv],
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    )
