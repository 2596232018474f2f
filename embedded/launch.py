"""Run as a script between us and each child: `launch.py PARENT SIGNAL UID GID COMMAND…`.

It drops to the given user (-1: stays who it is), asks Linux to send SIGNAL to the child when its parent dies,
and becomes the command. A script of its own, and not `preexec_fn`: that one runs between fork and exec of a
process with threads, where a lock may be held for ever. It imports the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(parent: int, signal: int, uid: int, gid: int, command: list[str]) -> None:
    """Never returns: becomes `command`, or exits with the reason on standard error."""
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # after the change of user, which clears it (prctl(2))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before we asked
        sys.exit("the parent process is gone")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    parent_, signal_, uid_, gid_ = map(int, sys.argv[1:5])
    main(parent_, signal_, uid_, gid_, sys.argv[5:])
