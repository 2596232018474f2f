"""The local folder of the embedded mode: its lock, ports, passwords, site key and connection.env."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import pwd
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from shared.errors import SettingsError

_ELSEWHERE = "set CONSILIUM_HOME to another folder"


def free_port() -> int:
    """A loopback TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the servers do: TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    made = path.with_name(f".{path.name}.new")
    made.unlink(missing_ok=True)
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    made.replace(path)


class Home:
    """The folder, locked for us: `with Home(path) as home`. One process at a time may hold it.

    Raises `SettingsError` if another one does, or if the folder belongs to another user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.logs = self.path / "logs"
        self._lock: IO[str] | None = None

    def __enter__(self) -> Home:
        try:
            missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir()
                # as root the servers run as another user, who must be able to pass; what is inside is closed
                folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            owner = self.path.stat().st_uid
            if owner != os.geteuid():
                raise SettingsError(
                    f"{self.path} belongs to {_name(owner)} and you are {_name(os.geteuid())}, and its "
                    f"database runs for its owner only: run as {_name(owner)}, or {_ELSEWHERE}"
                )
            self.logs.mkdir(mode=0o700, exist_ok=True)
            self._lock = (self.path / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                f"cannot use the folder {self.path}: {error.strerror}; {_ELSEWHERE}"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise SettingsError(
                f"{self.path} is in use by a running `consilium up` or demo (process {holder}): stop it "
                f"first, or {_ELSEWHERE}"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    @property
    def connection_env(self) -> Path:
        """The file of addresses that other commands read; it exists while the set runs."""
        return self.path / "connection.env"

    def write_connection(self, values: Mapping[str, str]) -> None:
        """Write connection.env (mode 0600), readable by dotenv and by a shell."""
        lines = (
            f"{name}='{value.replace(chr(92), chr(92) * 2).replace(chr(39), chr(92) + chr(39))}'\n"
            for name, value in values.items()
        )
        write_private(self.connection_env, "".join(lines))

    def remove_connection(self) -> None:
        """Nothing runs any more: a later command shall say so rather than knock at closed ports."""
        self.connection_env.unlink(missing_ok=True)

    def port(self, name: str, *, new: bool = False) -> int:
        """The port of a server: the one it had before if that is free (and not `new`), else another one."""
        known = self._state()
        port = known.get(f"{name}_port")
        if not isinstance(port, int) or new or not _is_free(port):
            taken = {value for key, value in known.items() if key.endswith("_port")}
            port = free_port()
            while port in taken:
                port = free_port()
            self._remember(f"{name}_port", port)
        return port

    def password(self, name: str) -> str:
        """The password of a server, made once: 32 hexadecimal characters."""
        known = self._state().get(f"{name}_password")
        if isinstance(known, str):
            return known
        made = secrets.token_hex(16)
        self._remember(f"{name}_password", made)
        return made

    def site_key(self) -> str:
        """32 random bytes, base64, made once and kept in site.key: without it no stored text can be read."""
        path = self.path / "site.key"
        with contextlib.suppress(FileNotFoundError):
            return path.read_text(encoding="ascii").strip()
        made = base64.b64encode(secrets.token_bytes(32)).decode()
        write_private(path, made + "\n")
        return made

    def _state(self) -> dict[str, str | int]:
        path = self.path / "state.json"
        try:
            state: dict[str, str | int] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise SettingsError(f"{path} is damaged (no JSON): restore it, or {_ELSEWHERE}") from None
        return state

    def _remember(self, key: str, value: str | int) -> None:
        write_private(self.path / "state.json", json.dumps({**self._state(), key: value}, indent=1) + "\n")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
