"""The file of doors: what is wrong in it is named, and no address is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.delivery.doors import load_doors
from shared.errors import SettingsError
from shared.settings import Settings
from tests.accepted import ROOT


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("queue = 'in'", "nothing but tables"),
        ("[doors.a]\nsource = 'x'\nqueue = 'in'", "one of url_env and url_file"),
        ("[doors.a]\nsource = 'x'\nurl_env = 'THEIRS'", "name a queue"),
        ("[doors.a]\nsource = 'x'\nurl_env = 'THEIRS'\nqeue = 'in'", "qeue"),
        ("[doors.a]\nsource = 'x'\nurl_env = 'MISSING'\nqueue = 'in'", "MISSING gives no address"),
        ("[doors.a]\nsource = 'x'\nurl_env = 'OURS'\nqueue = 'in'", "the broker of our own tasks"),
        ("[doors.a", "doors.toml"),
    ],
)
def test_a_wrong_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    """With what is wrong; the broker of our own tasks under another name too; no address is shown."""
    monkeypatch.setenv("THEIRS", "redis://:hidden@127.0.0.1:6379/1")
    monkeypatch.setenv("OURS", "redis://other:hidden@localhost/0?x=y")
    (tmp_path / "doors.toml").write_text(text)
    settings = Settings(
        _env_file=None, broker_url="redis://:hidden@127.0.0.1:6379", doors_file=tmp_path / "doors.toml"
    )
    with pytest.raises(SettingsError, match=why) as refused:
        load_doors(settings)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("theirs", ["amqp://127.0.0.1", "amqp://u:x@127.0.0.1//", "amqp://127.0.0.1/%2F"])
def test_a_vhost_has_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str) -> None:
    """RabbitMQ's usual one, and one with an escape: ours whichever is written."""
    (tmp_path / "doors.toml").write_text("[doors.a]\nsource = 'x'\nurl_env = 'THEIRS'\nqueue = 'in'")
    for ours, door in (("amqp://127.0.0.1/", theirs), ("amqp://127.0.0.1/a%2Db", "amqp://127.0.0.1/a-b")):
        monkeypatch.setenv("THEIRS", door)
        settings = Settings(_env_file=None, broker_url=ours, doors_file=tmp_path / "doors.toml")
        with pytest.raises(SettingsError, match="the broker of our own tasks"):
            load_doors(settings)


def test_the_pages_file_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in docs/events.md is a door."""
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    (tmp_path / "doors.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    monkeypatch.setenv("ST_MARY_BROKER", "amqps://his:x@broker.example/his")
    [door] = load_doors(Settings(_env_file=None, doors_file=tmp_path / "doors.toml"))
    assert (door.queue, door.dead_letters, door.events_exchange) == (
        "consilium.in",
        "consilium.in.dead",
        "consilium",
    )
