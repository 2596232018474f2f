"""Who may read a source's patients."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.policy import Policy
from shared.selection import Candidate

LOCAL = Candidate("llm-local", "oak", "local", simulated=False)
REMOTE = Candidate("llm-remote", "elm", "remote", simulated=False)
SIM_LOCAL = Candidate("sim-local", "alder", "local", simulated=True)
SIM_REMOTE = Candidate("sim-remote", "birch", "remote", simulated=True)
ALL = (LOCAL, REMOTE, SIM_LOCAL, SIM_REMOTE)


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ({}, {LOCAL, SIM_LOCAL, SIM_REMOTE}),
        ({"allow": ["local"]}, {LOCAL, SIM_LOCAL}),
        ({"allow": ["simulated"]}, {SIM_LOCAL, SIM_REMOTE}),
        ({"allow": ["remote"]}, {REMOTE, SIM_REMOTE}),
        ({"allow": ["local", "remote", "simulated"]}, set(ALL)),
        ({"allow": []}, set()),
        ({"deny": ["sim-local"]}, {LOCAL, SIM_REMOTE}),
        ({"only": ["sim-remote", "llm-remote"]}, {SIM_REMOTE}),
        ({"only": []}, set()),
        ({"only": ["llm-local"], "deny": ["llm-local"]}, set()),
    ],
)
def test_allows(policy: dict[str, Any], allowed: set[Candidate]) -> None:
    """Location or simulation must be allowed, the name not denied, and on the list if there is one."""
    assert {c for c in ALL if Policy.model_validate(policy).allows(c)} == allowed


def test_survives_storage() -> None:
    """What is stored as JSON is the same policy when it is read again."""
    policy = Policy.model_validate({"allow": ["local"], "deny": ["a"], "only": ["b"]})
    assert Policy.model_validate(policy.model_dump(mode="json")) == policy


@pytest.mark.parametrize("policy", [{"allow": ["anyone"]}, {"alow": ["local"]}, {"deny": "sim-local"}])
def test_mistakes_are_errors(policy: dict[str, Any]) -> None:
    """An unknown word or key is an error, never a wider policy."""
    with pytest.raises(ValidationError):
        Policy.model_validate(policy)
