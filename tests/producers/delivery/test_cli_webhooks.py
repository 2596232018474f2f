"""`consilium webhooks`: the secret is shown once, acts are in the audit, addresses are looked at."""

from __future__ import annotations

import uuid

from tests.producers import test_cli, test_cli_operators
from tests.producers.test_cli import UNKNOWN, Shell
from tests.stored import Stored

shell = test_cli.shell
closed_port = test_cli.closed_port
stored = test_cli_operators.stored
URL = "https://127.0.0.1:9/events"


def test_a_webhooks_life(shell: Shell, stored: Stored) -> None:
    """Added, listed without its secret, disabled, enabled, removed; each is an audit line."""
    shell.fails("webhooks", "add", "local", URL, code=2)
    asked = ("webhooks", "add", "local", URL, "--allow-private", "--type", "consultation.failed")
    [made] = shell.rows(*asked)
    assert made["secret"].startswith("whsec_")
    [listed] = shell.rows("webhooks", "list")
    assert made["secret"] not in str(listed)
    assert (listed["webhook"], listed["source"], listed["url"]) == (made["webhook"], "local", URL)
    assert (listed["types"], listed["state"], listed["pending"]) == (["consultation.failed"], "active", 0)
    shell.here("webhooks", "disable", made["webhook"])
    assert shell.rows("webhooks", "list")[0]["state"] == "disabled: by an operator"
    shell.here("webhooks", "enable", made["webhook"])
    assert shell.rows("webhooks", "list")[0]["state"] == "active"
    assert "0 events" in shell.here("webhooks", "redeliver", made["webhook"], "--since", "2h").out
    shell.here("webhooks", "remove", made["webhook"])
    assert shell.rows("webhooks", "list") == []
    acts = [what for _, what, _ in stored.audited()]
    assert acts == [f"webhook.{act}" for act in ("add", "disable", "enable", "redeliver", "remove")]


def test_wrong_words_change_nothing(shell: Shell, stored: Stored) -> None:
    """An event, a source, a webhook that there is not; no event and no age."""
    wrong = ("webhooks", "add", "local", URL, "--allow-private", "--type", "consultation.ended")
    assert "there is no event consultation.ended" in shell.fails(*wrong, code=2)
    assert "no source" in shell.fails("webhooks", "add", "lokal", URL, "--allow-private", code=8)
    assert "no webhook" in shell.fails("webhooks", "disable", UNKNOWN, code=8)
    assert "--since AGE" in shell.fails("webhooks", "redeliver", UNKNOWN, code=2)
    [made] = shell.rows("webhooks", "add", "local", URL, "--allow-private")
    assert "no event" in shell.fails("webhooks", "redeliver", made["webhook"], str(uuid.uuid4()), code=8)
