"""A process that has imported what others need, and forks one of them for each order.

A worker takes two seconds of CPU to import its libraries, at every start and after every crash. A child that
is forked from here begins where the imports end, and shares their memory. (The fork server of Python's own
`multiprocessing` gives its children neither streams nor an environment of their own.)

`ForkServer` is the side that orders. The server is `python -P -m embedded.fork_server MODULE…`: it imports
these modules, which must neither read the environment nor start a thread of ours when they are imported, and
waits for orders on its standard input. It dies with whoever started it, and its children with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import io
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, NamedTuple

import setproctitle

from embedded.launch import PR_SET_PDEATHSIG
from embedded.spawn import Popen, spawn

PYTHON_M = (sys.executable, "-P", "-m")
"""-P: a folder named `workers` where somebody happens to stand must not be imported instead of ours."""
_NUMBER = struct.Struct("i")
_ORDER_BYTES = 1 << 20


class Forked:
    """A forked child, as whoever ordered it sees it."""

    def __init__(self, pid: int, line: socket.socket, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self._line = line
        self._code = -int(signal.SIGKILL)  # of one whose server has died

    def await_end(self) -> None:
        """Return once it has ended; its process id stays taken until `reap`."""
        if told := self._line.recv(_NUMBER.size):
            [self._code] = _NUMBER.unpack(told)

    def reap(self) -> int:
        """Give its process id free; its exit code, or minus the signal."""
        self._line.close()
        return self._code


class ForkServer:
    """Runs modules as processes. The first order starts the server, and the next one after its death does."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = modules
        self._lock = threading.Lock()
        self._server: Popen | None = None
        self._orders: socket.socket
        self._closed = False

    def warm(self) -> None:
        """Begin to import; returns at once. Raises OSError if nothing can be forked."""
        self._channel()

    def fork(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, death_signal: signal.Signals
    ) -> Forked:
        """Run the module `argv[0]` with the arguments behind it. Raises OSError if the server dies of it."""
        order = json.dumps([list(argv), dict(env), str(cwd), int(death_signal)]).encode()
        line, far_line = socket.socketpair()
        far_stdin, stdin = os.pipe()
        stdout, far_stdout = os.pipe()
        made = Forked(-1, line, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"))
        try:
            try:
                socket.send_fds(self._channel(), [order], [far_stdin, far_stdout, far_line.fileno()])
            finally:
                far_line.close()
                os.close(far_stdin)
                os.close(far_stdout)
            if not (told := line.recv(_NUMBER.size)):
                raise ChildProcessError(errno.ECHILD, "the fork server has died")
        except OSError:
            for each in (line, made.stdin, made.stdout):
                each.close()
            raise
        [made.pid] = _NUMBER.unpack(told)
        return made

    def close(self) -> None:
        """SIGKILL the server and its children; nothing is forked any more."""
        with self._lock:
            self._closed = True
            if self._server is not None:
                self._server.kill()
                self._server.wait()
                self._orders.close()

    def _channel(self) -> socket.socket:
        with self._lock:
            if self._closed:
                raise OSError(errno.ESHUTDOWN, "the fork server is closed")
            if self._server is not None and self._server.poll() is not None:
                self._orders.close()
                self._server = None
            if self._server is None:
                self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._server = spawn(
                        [*PYTHON_M, "embedded.fork_server", *self._modules],
                        env=os.environ,
                        cwd=Path("/"),
                        stdin=theirs.fileno(),
                        stdout=subprocess.DEVNULL,
                        stderr=None,
                    )
            return self._orders


class _Order(NamedTuple):
    """What a child is to become."""

    argv: list[str]
    environ: dict[str, str]
    cwd: str
    death_signal: int

    def obey(self) -> None:
        """Become the module, to its end. `SystemExit` and whatever else it raises is the caller's."""
        os.chdir(self.cwd)
        os.environ.clear()
        os.environ.update(self.environ)
        sys.path[:0] = filter(None, self.environ.get("PYTHONPATH", "").split(os.pathsep))
        sys.argv[1:] = self.argv[1:]
        setproctitle.setproctitle(" ".join([*PYTHON_M, *self.argv]))
        for stream in (sys.stdout, sys.stderr):  # whoever ordered it reads line by line
            assert isinstance(stream, io.TextIOWrapper)
            stream.reconfigure(line_buffering=True)
        runpy.run_module(self.argv[0], run_name="__main__", alter_sys=True)


class _Server:
    """One thread: it watches where orders come in, each child's end, and that this was heard."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._pid = os.getpid()
        self._prctl = ctypes.CDLL(None).prctl
        self._watched = selectors.DefaultSelector()
        self._watched.register(orders, selectors.EVENT_READ, self._obey)

    def serve(self) -> _Order:
        """Fork until nobody orders any more, then exit; returns in each child, and only there."""
        while True:
            for key, _ in self._watched.select():
                order: _Order | None = key.data()
                if order is not None:
                    return order

    def _obey(self) -> _Order | None:
        message, files, *_ = socket.recv_fds(self._orders, _ORDER_BYTES, 3)
        if not message:
            sys.exit()
        order, line = _Order(*json.loads(message)), socket.socket(fileno=files[2])
        try:
            pid = os.fork()
        except OSError as error:
            print(f"fork server: {error}", file=sys.stderr)
            line.close()  # which tells whoever ordered
            pid = -1
        if pid == 0:
            self._become_child(order, files)
            line.sendall(_NUMBER.pack(os.getpid()))
            line.close()
            return order
        os.close(files[0])
        os.close(files[1])
        if pid > 0:
            end = os.pidfd_open(pid)
            self._watched.register(end, selectors.EVENT_READ, partial(self._tell, pid, end, line))
        return None

    def _tell(self, pid: int, end: int, line: socket.socket) -> None:
        """A child has ended."""
        self._watched.unregister(end)
        os.close(end)
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert found is not None
        code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        with contextlib.suppress(BrokenPipeError):  # nobody asks any more
            line.sendall(_NUMBER.pack(code))
        self._watched.register(line, selectors.EVENT_READ, partial(self._reap, pid, line))

    def _reap(self, pid: int, line: socket.socket) -> None:
        """Whoever ordered the child that has ended knows it: its process id may be somebody else's now."""
        self._watched.unregister(line)
        line.close()
        os.waitpid(pid, 0)

    def _become_child(self, order: _Order, files: list[int]) -> None:
        """In the child: nothing of the server is left but what it has imported."""
        for key in list(self._watched.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.detach() if key.fileobj is self._orders else key.fileobj.close()
            else:
                os.close(key.fd)
        self._watched.close()
        os.setsid()
        self._prctl(PR_SET_PDEATHSIG, order.death_signal)
        if os.getppid() != self._pid:
            sys.exit("the fork server is gone")
        for number, file in enumerate((files[0], files[1], files[1])):
            os.dup2(file, number)
        os.close(files[0])
        os.close(files[1])


def main(modules: Sequence[str]) -> None:
    """The server's process, and in the end each child's."""
    setproctitle.setproctitle("consilium: fork server")  # before an environment changes, or it does nothing
    gc.disable()  # there is no garbage in imports
    for name in modules:
        import_module(name)
    gc.freeze()
    gc.enable()
    _Server(socket.socket(fileno=sys.stdin.fileno())).serve().obey()


if __name__ == "__main__":
    main(sys.argv[1:])
