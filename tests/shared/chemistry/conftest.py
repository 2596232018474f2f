"""The golden numbers of the published code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def golden() -> list[dict[str, Any]]:
    """Cases: models {name: [quality, accuracy, trial?]}, past, pairs, sets seen (null: no answer)."""
    cases: list[dict[str, Any]] = json.loads((Path(__file__).parent / "golden.json").read_text())["cases"]
    return cases
