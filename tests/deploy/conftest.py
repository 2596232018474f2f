"""The deployment's services on the tests' PostgreSQL and a Valkey of their own, by the compose file alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg.conninfo
import pytest

from embedded.home import free_port
from embedded.postgres import binaries
from embedded.redis import binary
from embedded.services import Services
from tests.deploy.composed import ROOT, House, resolve

NAME = "house_of_tests"  # of role and database: the tests' own server has a `consilium` already
WATCHER = "watcher"  # a user of Valkey that the deployment does not have: it reads what was denied
QUICK = {"CONSILIUM_SWEEP_EVERY_S": "1", "CONSILIUM_CLOSE_CALLS_AFTER_S": "1"}


@pytest.fixture(scope="session")
def resolved() -> dict[str, Any]:
    """docker-compose.yml as Docker Compose reads it."""
    return resolve()


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that deploy/secrets.sh makes."""
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    subprocess.run(["sh", ROOT / "deploy" / "secrets.sh", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def panel() -> Iterator[Path]:
    """A models.toml, as a deployment has it, of simulated models that answer."""
    place = Path(tempfile.mkdtemp(prefix="consilium-models-"))
    port = free_port()
    python = [sys.executable, "-P", "-m", "panel"]
    options = ["--time-scale", "0.02"]
    made = [*python, "models", "--base-url", f"http://127.0.0.1:{port}/v1", *options]
    (place / "models.toml").write_text(subprocess.check_output(made, text=True, cwd=ROOT))
    with subprocess.Popen(
        [*python, "serve", "--port", str(port), "--faults", "off", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert "listening on" in server.stdout.readline()
        yield place / "models.toml"
        server.kill()
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def house(resolved: dict[str, Any], secrets: Path, panel: Path, services: Services) -> Iterator[House]:
    """Servers that run, everything else yet to be started."""
    place = Path(tempfile.mkdtemp(prefix="consilium-house-"))
    where = psycopg.conninfo.conninfo_to_dict(services.addresses.database_url)
    kept = Path(shutil.copytree(secrets, place / "secrets"))
    url = (kept / "database_url").read_text()
    (kept / "database_url").write_text(re.sub(r"(?<=/)consilium\b", NAME, url))
    for user in ("api", "worker"):
        url = (kept / f"database_url_{user}").read_text()
        (kept / f"database_url_{user}").write_text(
            re.sub(r"/consilium$", f"/{NAME}", url, flags=re.MULTILINE)
        )
    made = House(resolved, place, kept, panel, QUICK)
    made.rename |= {
        "postgres:5432": f"{where['host']}:{where['port']}",
        "valkey:6379": f"127.0.0.1:{free_port()}",
        "valkey-server": str(binary()),
    }
    try:
        with psycopg.connect(services.addresses.database_url, autocommit=True) as admin:
            _drop(admin)
            _first_start(made, services.addresses.database_url)
            yield made
            made.close()
            _drop(admin)
    finally:
        made.close()
        shutil.rmtree(place)


def _first_start(house: House, superuser: str) -> None:
    """What the image of PostgreSQL does when it starts first: our SQL, as the superuser."""
    psql = [str(binaries() / "psql"), "--no-psqlrc", "--quiet", superuser]
    for config in ("postgres_init", "postgres_roles", "postgres_roles"):  # the second again, as at an upgrade
        sql = (house.folder("postgres") / "configs" / config).read_text()
        renamed = re.sub(r"^(?!--)(.*)", _renamed, sql, flags=re.MULTILINE)
        done = subprocess.run(psql, input=renamed, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def _renamed(line: re.Match[str]) -> str:
    return re.sub(r"(?<![/\w])consilium(?![\w-])", NAME, line[0])


def _drop(admin: psycopg.Connection[Any]) -> None:
    admin.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
    for role in (NAME, "consilium_api", "consilium_worker"):
        admin.execute(f"DROP ROLE IF EXISTS {role}")
