"""Servers that the wheels do not bring: RabbitMQ, PostgreSQL and Redis with TLS, where apt installed them.

Each is started with a configuration of its own on loopback, away from what apt would run, and ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.home import free_port
from embedded.process import server_user
from embedded.supervisor import Spec, Supervisor
from tests.brokers.authority import Authority

PASSWORD = "throw-away"


def found(name: str, *places: str) -> Path:
    """A program of that name; skips the test with its reason where there is none."""
    where = [path for place in places for path in sorted(Path("/").glob(place), reverse=True)]
    on_path = shutil.which(name)
    if not (where or on_path):
        pytest.skip(f"no {name} here: apt-get install it")
    return where[0] if where else Path(str(on_path))


@contextlib.contextmanager
def rabbitmq(folder: Path, authority: Authority) -> Iterator[tuple[str, str]]:
    """A RabbitMQ of one node: its address without and with TLS."""
    server = found("rabbitmq-server", "usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server")
    port, tls, distribution, mapper = (free_port() for _ in range(4))
    folder.mkdir(mode=0o700)
    config = folder / "rabbitmq.conf"
    config.write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\n"
        f"listeners.ssl.1 = 127.0.0.1:{tls}\n"
        f"ssl_options.cacertfile = {authority.ca}\n"
        f"ssl_options.certfile = {authority.certificate}\n"
        f"ssl_options.keyfile = {authority.key}\n"
        "disk_free_limit.absolute = 50MB\n"
        "log.console = true\nlog.console.level = info\nlog.file = false\n",
        encoding="utf-8",
    )
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"consilium{port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "LC_ALL": "C.UTF-8",
    }
    spec = Spec("rabbitmq", [str(server)], Path("/"), environ, "startup complete", 0)
    try:
        with running(folder, spec):
            at = "guest:guest@127.0.0.1"
            yield f"amqp://{at}:{port}/", f"amqps://{at}:{tls}/?ssl_ca_certs={authority.ca}"
    finally:
        _end_port_mapper(mapper)


def _end_port_mapper(port: int) -> None:
    """Erlang's port mapper outlives who started it; ours is the one whose environment names this port."""
    wanted = f"ERL_EPMD_PORT={port}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            mapper = process.joinpath("comm").read_text() == "epmd\n"
            if mapper and wanted in process.joinpath("environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGTERM)


@contextlib.contextmanager
def redis_with_tls(folder: Path, authority: Authority) -> Iterator[str]:
    """A Redis that speaks TLS only: its address, without the authority's file."""
    server = found("redis-server")
    port = free_port()
    folder.mkdir(mode=0o700)
    config = (
        f"bind 127.0.0.1\nport 0\ntls-port {port}\nrequirepass {PASSWORD}\ndir {folder}\n"
        f"tls-cert-file {authority.certificate}\ntls-key-file {authority.key}\n"
        f'tls-ca-cert-file {authority.ca}\ntls-auth-clients no\nsave ""\nmaxmemory-policy noeviction\n'
    )
    spec = Spec(
        "redis",
        [str(server), "-"],
        Path("/"),
        {"LC_ALL": "C"},
        "Ready to accept connections",
        0,
        stdin=config,
    )
    with running(folder, spec):
        yield f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"


@contextlib.contextmanager
def postgres_with_tls(folder: Path, authority: Authority) -> Iterator[str]:
    """A PostgreSQL that takes nobody in without TLS: its address, without anything about TLS."""
    programs = found("initdb", "usr/lib/postgresql/*/bin/initdb").parent
    port = free_port()
    folder.mkdir(mode=0o755)
    (password := folder / "password").write_text(PASSWORD, encoding="ascii")
    (key := folder / "server.key").write_bytes(authority.key.read_bytes())
    key.chmod(0o600)
    user = server_user()
    if user is not None:  # root, as whom it refuses to run
        for path in (folder, password, key):
            os.chown(path, user.uid, user.gid)
    environ = {"LC_ALL": "C", "PATH": os.environ["PATH"]}
    make = [programs / "initdb", "-D", folder / "data", "-U", "consilium", "-A", "scram-sha-256"]
    subprocess.run(
        [*make, f"--pwfile={password}", "-E", "UTF8", "--locale=C", "--no-sync"],
        cwd="/",
        env=environ,
        check=True,
        capture_output=True,
        **({"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}),
    )
    hba = folder / "data" / "pg_hba.conf"
    hba.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n", encoding="ascii")
    options = {
        "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
        "max_connections": 200, "ssl": "on", "ssl_cert_file": authority.certificate, "ssl_key_file": key,
    }  # fmt: skip
    argv = [
        str(programs / "postgres"),
        "-D",
        str(folder / "data"),
        *(f"-c{k}={v}" for k, v in options.items()),
    ]
    spec = Spec(
        "postgres", argv, Path("/"), environ, "ready to accept connections", 0, user=user,
        stop_signal=signal.SIGINT,
    )  # fmt: skip
    with running(folder, spec):
        yield f"postgresql://consilium:{PASSWORD}@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def running(folder: Path, spec: Spec) -> Iterator[None]:
    """The process, from when it says that it serves to its end."""
    logs = folder.with_name(f"{folder.name}.logs")
    logs.mkdir()
    supervisor = Supervisor(logs)
    try:
        supervisor.start(spec)
        supervisor.wait_ready(timeout_s=200)
        yield
    finally:
        supervisor.stop(deadline=time.monotonic() + 30)
