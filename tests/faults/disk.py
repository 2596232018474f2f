"""A small disk under a running server's data, which can be filled up and emptied again (scenario 25).

    with SmallDisk(stack, "postgres") as disk:
        disk.fill()
        ...
        disk.empty()

It is a tmpfs, which only root may mount; where it cannot be, `CannotMount` says why.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess

from producers.cli.stack import Stack
from tests.faults.restore import stopped

_PIECE = 64 * 1024
_WORKING_IN = {"postgres": "18"}  # below its folder; Redis works in the folder itself


class CannotMount(Exception):
    """No tmpfs can be mounted here; the message says why."""


class SmallDisk:
    """Inside the `with` the server's data lie on a tmpfs of what they take now and `spare_mb` MiB.

    Entering restarts the server. What it writes is gone afterwards: the set is to be stopped then. Raises
    `CannotMount`.
    """

    def __init__(self, stack: Stack, name: str, *, spare_mb: int = 48) -> None:
        self._stack, self._name, self._spare_mb = stack, name, spare_mb
        self._folder = stack.home / name
        self._disk = stack.home / f"{name}-disk"

    def __enter__(self) -> SmallDisk:
        if os.geteuid() != 0:
            raise CannotMount("a tmpfs can be mounted by root only")
        with contextlib.ExitStack() as undo:
            self._disk.mkdir()
            with stopped(self._stack, self._name, self._folder / _WORKING_IN.get(self._name, "")):
                taken = sum(f.stat().st_blocks * 512 for f in self._folder.rglob("*") if f.is_file())
                options = f"size={taken // 2**20 + self._spare_mb}m"
                _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self._disk))
                undo.callback(_run, "umount", "--lazy", str(self._disk))
                _run("cp", "--archive", f"{self._folder}/.", str(self._disk))
                _run("mount", "--bind", str(self._disk), str(self._folder))
                undo.callback(_run, "umount", "--lazy", str(self._folder))
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def fill(self, *, leave_mb: float = 0) -> None:
        """Take all the space that is left, but for so many MiB."""
        with (self._disk / "ballast").open("ab", buffering=0) as file:
            try:
                while file.write(b"\0" * _PIECE):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            file.truncate(max(0, file.tell() - int(leave_mb * 2**20)))

    def empty(self) -> None:
        """Give it back."""
        (self._disk / "ballast").unlink(missing_ok=True)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotMount(f"there is no command `{command[0]}`") from None
    if done.returncode != 0:
        raise CannotMount(f"{command[0]}: {done.stderr.strip()[-200:]}")
