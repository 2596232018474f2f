"""What the documentation lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.registry import Model, load_registry
from shared.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SETTINGS_MD = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", SETTINGS_MD, re.MULTILINE))
"""First and second cell of each row of its tables."""


def test_every_setting_is_named_with_its_default() -> None:
    """No setting is missing in docs/settings.md, none is invented, and no default has moved on."""
    told = {name: default for name, default in ROWS.items() if name.startswith("CONSILIUM_")}
    there = {}
    for name, field in Settings.model_fields.items():
        shown = "not set" if field.default is None else f"`{field.default}`"
        there[f"CONSILIUM_{name.upper()}"] = shown
    assert told == there


def test_every_key_of_models_toml_is_named() -> None:
    """No key is missing and none is invented; what is required is said to be."""
    told = {name: default for name, default in ROWS.items() if not name.startswith("CONSILIUM_")}
    fields = {name: field for name, field in Model.model_fields.items() if name != "name"}
    assert told.keys() == fields.keys()
    assert {k for k, default in told.items() if default == "required"} == {
        k for k, field in fields.items() if field.is_required()
    }


def test_the_example_of_models_toml_can_be_read(tmp_path: Path) -> None:
    """The file's example is one."""
    example = re.search(r"```toml\n(.*?)```", SETTINGS_MD, re.DOTALL)
    assert example
    (tmp_path / "models.toml").write_text(example[1], encoding="utf-8")
    assert list(load_registry(tmp_path / "models.toml")) == ["oak-large"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
