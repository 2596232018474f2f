"""The alert rules: what they name is there, and promtool finds them well."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from embedded.services import Services
from producers.metrics.collector import Site
from shared.settings import Settings

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "alerts.yml"
RUNBOOK = ROOT / "docs" / "runbook.md"
TEXT = RULES.read_text(encoding="utf-8")
PROMTOOL = shutil.which("promtool")


def test_every_metric_and_label_is_told(database_url: str, services: Services) -> None:
    """The collector tells each metric that a rule reads, with the labels that it reads."""
    settings = Settings(_env_file=None, database_url=database_url, broker_url=services.addresses.broker_url)
    registry = CollectorRegistry()
    registry.register(Site(settings, ["a"]))
    told = generate_latest(registry).decode()
    described = set(re.findall(r"^# TYPE (\w+)", told, re.MULTILINE))
    expressions = re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n        (?:for|labels):", TEXT)
    assert len(expressions) == 8
    read = {name for expr in expressions for name in re.findall(r"consilium_\w+", expr)}
    assert len(read) >= 9
    assert read - described == set()
    for name, selector in re.findall(r'(consilium_\w+)\{(\w+="[^"]+")\}', TEXT):
        assert re.search(rf"^{name}\{{.*{selector}", told, re.MULTILINE), (name, selector)


def test_each_rule_says_what_how_bad_and_where_to_read() -> None:
    """Severity, summary, description and a section of the runbook for each."""
    rules = TEXT.split("- alert: ")[1:]
    assert len(rules) == 8
    for rule in rules:
        assert re.search(r"severity: (critical|warning|info)\n", rule), rule
        assert "summary: " in rule, rule
        assert "description: " in rule, rule
        assert re.search(r"runbook: docs/runbook\.md#[a-z-]+\n", rule), rule


def test_every_section_of_the_runbook_is_there() -> None:
    """Each anchor is a heading of the runbook."""
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"docs/runbook\.md#([a-z-]+)", TEXT)) - anchors == set()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")
@pytest.mark.parametrize("words", [("check", "alerts.yml"), ("test", "alerts.test.yml")], ids=lambda w: w[0])
def test_promtool(words: tuple[str, str]) -> None:
    """promtool reads the rules, and each fires on what it is for."""
    assert PROMTOOL
    verb, file = words
    done = subprocess.run(
        [PROMTOOL, verb, "rules", str(RULES.with_name(file))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
