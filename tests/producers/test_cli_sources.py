"""`consilium sources policy`: shown, changed in parts, audited, and refused where a word is unknown."""

from __future__ import annotations

from tests.accepted import TRIO
from tests.producers import test_cli, test_cli_operators
from tests.producers.test_cli import Shell
from tests.stored import Stored

shell = test_cli.shell
closed_port = test_cli.closed_port
stored = test_cli_operators.stored


def test_policy(shell: Shell, stored: Stored) -> None:
    """What is named changes, the rest stays, twice is once; a change is one audit line."""
    default = {"name": "local", "allow": ["local", "simulated"], "deny": [], "only": None, "mask": "strict"}
    assert shell.rows("sources", "policy", "local") == [default]
    assert stored.audited() == []
    changed = shell.rows("sources", "policy", "local", "--allow", "remote", "--deny", TRIO[0])
    assert changed == [{**default, "allow": ["remote"], "deny": [TRIO[0]]}]
    said = shell.here("sources", "policy", "local", "--mask", "off", "--only", TRIO[1])
    assert "mask   off  (changed)" in said.out
    assert "--mask strict masks them" in said.err
    shell.rows("sources", "policy", "local", "--mask", "off")
    lifted = shell.rows(
        "sources", "policy", "local", "--deny", "none", "--only", "none", "--mask", "structured"
    )
    assert lifted == [{**default, "allow": ["remote"], "mask": "structured"}]
    [(source,)] = stored.ask("SELECT id::text FROM sources WHERE name = 'local'")
    lines = stored.audited()
    assert [(who, what) for who, what, _ in lines] == [("cli", "source.policy")] * 3
    assert lines[1][2] == f"{source} only {TRIO[1]}; mask off"


def test_an_unknown_word_changes_nothing(shell: Shell, stored: Stored) -> None:
    """A model, a location, a mask or a source that there is not is refused with what there is."""
    assert "did you mean" in shell.fails("sources", "policy", "local", "--deny", f"{TRIO[0]}x", code=2)
    assert "strict, structured, off" in shell.fails("sources", "policy", "local", "--mask", "no", code=2)
    assert "local, simulated, remote" in shell.fails("sources", "policy", "local", "--allow", "any", code=2)
    shell.fails("sources", "policy", "lokal", code=8)
    assert stored.audited() == []
