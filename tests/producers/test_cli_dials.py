"""`submit --dial`: what is asked for, and what is refused before anything is read."""

from __future__ import annotations

import pytest

from producers.cli.submit import dials
from shared.errors import SettingsError


def test_dials_by_name() -> None:
    """NAME=NUMBER each, the last of one name counts."""
    assert dials(["severity=2", "grade=0", "severity=3"]) == {"severity": 3.0, "grade": 0.0}
    assert dials([]) == {}


@pytest.mark.parametrize("asked", ["severity", "severity=much", "=1", "lambda=2"])
def test_what_is_no_dial_is_named(asked: str) -> None:
    """The option is quoted, with what there is or how it is written."""
    with pytest.raises(SettingsError, match=f"--dial {asked}"):
        dials([asked])
