"""The documentation names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.registry import Model
from shared.settings import Settings

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", [*Settings.model_fields, *(set(Model.model_fields) - {"name"})])
def test_every_setting_is_documented(name: str) -> None:
    """docs/settings.md has a row for each setting and each key of models.toml."""
    assert f"| `{name}` |" in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
