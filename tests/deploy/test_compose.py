"""What docker-compose.yml promises, asserted on the file as Docker Compose itself resolves it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from embedded.postgres import binaries
from producers.cli.stack import commands
from shared.broker import QUEUES
from shared.registry import load_registry
from shared.settings import Settings
from tests.deploy.composed import COMPOSE, ROOT, tool

WORKERS = {"remote", "local", "urgent", "conclude", "quarantine"}
ONCE = {"migrate", "cli"}  # end by themselves
SERVERS = {"postgres", "valkey"}
CALL_REMOTE = {"remote", "urgent", "quarantine"}  # what quarantine takes may have been meant for any model
OUTSIDE = CALL_REMOTE | {"delivery"}  # webhooks, and the sources' own brokers


def _services(resolved: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(resolved["services"])


def _queues(service: dict[str, Any]) -> set[str]:
    command = service["command"] or []
    return set(command[command.index("-Q") + 1].split(",")) if "-Q" in command else set()


def _granted(service: dict[str, Any]) -> set[str]:
    return {Path(each.get("target") or each["source"]).name for each in service.get("secrets", [])}


def test_the_published_schema_knows_every_key() -> None:
    """check-jsonschema, with the Compose specification's own schema."""
    checker = tool("check-jsonschema", "check-jsonschema")
    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", COMPOSE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_container_is_hardened(resolved: dict[str, Any]) -> None:
    """No root, no capability, no new privilege, no writable root file system, no unbounded log."""
    for name, service in _services(resolved).items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert "privileged" not in service, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert int(service["user"].split(":")[0]) > 0, name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name


def test_every_container_is_limited_and_comes_back(resolved: dict[str, Any]) -> None:
    """Memory, processes and CPUs have a limit; what serves is started again and has a health check."""
    for name, service in _services(resolved).items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        assert ("healthcheck" in service) == (name not in ONCE), name


def test_a_worker_is_checked_by_whether_work_flows(resolved: dict[str, Any]) -> None:
    """`consilium health --worker` with the name that the worker has, and time to give its leases back."""
    for name in WORKERS:
        service = _services(resolved)[name]
        node = service["command"][service["command"].index("-n") + 1]
        assert service["healthcheck"]["test"] == ["CMD", "consilium", "health", "--worker", name]
        assert node == f"{name}@%h"
        grace = int(service["stop_grace_period"].removesuffix("s"))
        assert grace > Settings.model_fields["close_calls_after_s"].default + 10


def test_every_queue_has_its_worker_as_under_up(resolved: dict[str, Any]) -> None:
    """The queues are split as `consilium up` splits them, remote and local apart."""
    services = _services(resolved)
    assert {queue for service in services.values() for queue in _queues(service)} == set(QUEUES)
    for name, (argv, _) in commands(
        Path("/"), workers=1, model_slots=1, flower_port=1, metrics_port=1, api_port=1
    ).items():
        if name in WORKERS:
            assert _queues(services[name]) == _queues({"command": argv}), name


def test_only_the_loopback_is_published(resolved: dict[str, Any]) -> None:
    """The API, Flower and /metrics, on 127.0.0.1; neither server."""
    published = {
        (name, port["host_ip"])
        for name, service in _services(resolved).items()
        for port in service.get("ports", [])
    }
    assert published == {(name, "127.0.0.1") for name in ("api", "flower", "metrics")}
    assert all(service.get("network_mode") is None for service in _services(resolved).values())


def test_only_who_calls_remote_models_gets_out(resolved: dict[str, Any]) -> None:
    """Servers and all others sit on internal networks; `front` gets nobody out."""
    networks = resolved["networks"]
    assert {name for name, network in networks.items() if network.get("internal")} == {"inside", "models"}
    assert networks["front"]["driver_opts"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    at = {name: set(service["networks"]) for name, service in _services(resolved).items()}
    assert {name for name in at if "outside" in at[name]} == OUTSIDE
    assert {name for name in at if "front" in at[name]} == {"api", "flower", "metrics"}
    assert {name for name in at if "models" in at[name]} == {"local", "urgent", "quarantine"}
    assert all("inside" in networks_ for networks_ in at.values())
    assert all(at[name] == {"inside"} for name in SERVERS)


def test_no_secret_is_a_value(resolved: dict[str, Any], secrets: Path) -> None:
    """Secrets are files, and none of what deploy/secrets.sh makes is missing or left over."""
    for name, service in _services(resolved).items():
        for variable, value in service.get("environment", {}).items():
            named = re.search(r"PASSWORD|SECRET|KEY|TOKEN|URL|AUTH", variable)
            assert named is None or value.startswith("/run/secrets"), f"{name}: {variable}"
            assert "://" not in str(value), f"{name}: {variable}"
        assert "://" not in " ".join([*(service.get("command") or []), *(service.get("entrypoint") or [])])
    files = {Path(secret["file"]).name for secret in resolved["secrets"].values()}
    made = {path.name for path in secrets.iterdir() if path.is_file() and not path.name.startswith(".")}
    passwords = {f"valkey_{user}" for user in ("worker", "sender", "api", "flower", "metrics")}
    assert made - passwords == files
    used = {each["source"] for service in _services(resolved).values() for each in service.get("secrets", [])}
    assert used == set(resolved["secrets"])


def test_who_holds_which_key(resolved: dict[str, Any]) -> None:
    """Texts are opened and sealed by workers, doors and the command line; models' keys are with who calls;
    the tables' owner is who migrates, and the command line."""
    services = _services(resolved)
    sealing = {*WORKERS, "api", "delivery", "cli"}
    assert {n for n in services if "consilium_site_key" in _granted(services[n])} == sealing
    no_database = {"beat", "flower", "valkey", "postgres"}
    assert {n for n in services if "consilium_database_url" not in _granted(services[n])} == no_database
    callers = {
        n for n in services if any(v["target"] == "/run/models" for v in services[n].get("volumes", []))
    }
    assert callers == WORKERS - {"conclude"}

    def holders(secret: str) -> set[str]:
        return {n for n in services if secret in {each["source"] for each in services[n].get("secrets", [])}}

    assert holders("broker_url_worker") == WORKERS
    assert holders("broker_url_sender") == {"beat", "cli", "delivery"}
    assert holders("broker_url_api") == holders("database_url_api") == {"api"}
    assert holders("database_url_worker") == {*WORKERS, "delivery", "metrics"}
    assert holders("database_url") == {"migrate", "cli"}


def test_all_wait_for_the_migration(resolved: dict[str, Any]) -> None:
    """Nobody of ours begins on a schema that is not there yet."""
    services = _services(resolved)
    for name in services.keys() - SERVERS - {"migrate"}:
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully", name
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_the_secrets_are_closed_and_kept(secrets: Path) -> None:
    """The folder is its owner's; made again, nothing changes; the ACL holds digests only."""
    assert secrets.stat().st_mode & 0o777 == 0o700
    before = {path.name: path.read_bytes() for path in secrets.iterdir() if path.is_file()}
    subprocess.run(["sh", ROOT / "deploy" / "secrets.sh", secrets], check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in secrets.iterdir() if path.is_file()} == before
    acl = before["valkey.acl"].decode()
    assert "user default off" in acl
    assert ">" not in acl
    assert "nopass" not in acl
    for name in before.keys() - {"valkey.acl", ".gitignore"}:
        assert before[name].decode().strip() not in acl


@pytest.mark.parametrize(
    ("setting", "value"),
    [("log_error_verbosity", "terse"), ("log_min_error_statement", "panic"), ("max_connections", "300")],
)
def test_postgresql_reads_its_file(setting: str, value: str, tmp_path: Path) -> None:
    """PostgreSQL itself reads deploy/postgres.conf."""
    done = subprocess.run(
        [
            *(binaries() / "postgres", "-C", setting, "-D", tmp_path),
            *("-c", f"config_file={ROOT / 'deploy' / 'postgres.conf'}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, value), done.stderr


def test_the_example_of_models_can_be_read() -> None:
    """Remote and local models, enough for an ensemble, the key in a file of the mounted folder."""
    models = load_registry(ROOT / "deploy" / "models.example.toml")
    assert {model.location for model in models.values()} == {"remote", "local"}
    assert len(models) >= 3
    assert {str(m.key_file.parent) for m in models.values() if m.key_file} == {"/run/models"}
