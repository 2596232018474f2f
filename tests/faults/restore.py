"""A base backup of the embedded PostgreSQL under load, and its restore in place (scenario 29)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from embedded.postgres import NAME, binaries
from embedded.process import server_user
from producers.cli.stack import Stack

_GONE_S = 3.0  # a killed server's last process has left its folder by then
_DOWN_S = 6.0  # so long the server stays down, and what is done to its folder may take


@contextlib.contextmanager
def stopped(stack: Stack, name: str, folder: Path) -> Iterator[None]:
    """SIGKILL a server, run the body once nothing works in `folder` any more, wait until it serves again."""
    began = time.monotonic()
    stack.kill(name, down_s=_DOWN_S)
    while any(_works_in(process, folder) for process in Path("/proc").glob("[0-9]*")):
        if time.monotonic() > began + _GONE_S:  # backends outlive the postmaster for a moment
            raise TimeoutError(f"processes still work in {folder}")
        threading.Event().wait(0.02)
    yield
    if time.monotonic() > began + _DOWN_S:
        raise TimeoutError(f"{name} was started again before its folder was ready")
    stack.wait_ready([name])


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except OSError:  # it has ended, or is not ours to look at
        return False


def base_backup(stack: Stack, into: Path) -> None:
    """Copy the running cluster, with the log that makes the copy consistent, by its own pg_basebackup."""
    at = urlsplit(stack.addresses.database_url)
    where = ("-h", str(at.hostname), "-p", str(at.port), "-U", str(at.username), "--no-password")
    how = ("--checkpoint=fast", "--wal-method=stream", "--no-sync")
    subprocess.run(
        [str(binaries() / "pg_basebackup"), "-D", str(into), *where, *how],
        env={"PGPASSWORD": str(at.password), "PATH": os.defpath, "LC_ALL": "C"},
        check=True,
        capture_output=True,
        timeout=60,
    )


def restore(stack: Stack, backup: Path) -> None:
    """Put the backup in the place of the cluster, as an operator would: stopped, swapped, started.

    Workers and broker go on meanwhile. `backup` must be on the same disk as the cluster, and is used up.
    """
    data = stack.home / NAME / "18"
    user = server_user()
    if user is not None:
        for path in [backup, *backup.rglob("*")]:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
    with stopped(stack, NAME, data):
        data.rename(data.with_name("before-restore"))
        backup.rename(data)
