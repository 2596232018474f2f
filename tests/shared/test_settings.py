"""Settings: secrets in files, and which Redis serves for what."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import Settings, read_settings, with_secrets


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing is set but the folder of secrets."""
    for name in ("DATABASE_URL", "BROKER_URL", "REDIS_URL", "SITE_KEY", "METRICS_TOKEN", "MODEL_SLOTS"):
        monkeypatch.delenv(f"CONSILIUM_{name}", raising=False)
    monkeypatch.setenv("CONSILIUM_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_a_secret_may_lie_in_a_file(bare: Path) -> None:
    """It is stripped, wins over connection.env, and what is no secret of ours is left alone."""
    (bare / "consilium_site_key").write_text("  abc \n", encoding="utf-8")
    (bare / "consilium_model_slots").write_text("7", encoding="utf-8")
    (bare / "another").write_text("x", encoding="utf-8")
    (env := bare / "connection.env").write_text("CONSILIUM_SITE_KEY='old'\n", encoding="utf-8")
    found = read_settings(env)
    assert found.site_key is not None
    assert found.site_key.get_secret_value() == "abc"
    assert found.model_slots == 32
    assert with_secrets({"CONSILIUM_SECRETS_DIR": str(bare), "A": "b"}) == {
        "A": "b",
        "CONSILIUM_SITE_KEY": "abc",
    }


def test_what_is_wrong_with_a_secret_is_told_with_variable_and_file(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given twice, empty, no text, a folder that is none: the value itself is never told."""
    file = bare / "consilium_broker_url"
    file.write_text("redis://:secret@host/0", encoding="utf-8")
    monkeypatch.setenv("CONSILIUM_BROKER_URL", "redis://:other@host/0")
    _refused(f"CONSILIUM_BROKER_URL is set, and there is {file} too")
    monkeypatch.delenv("CONSILIUM_BROKER_URL")
    file.write_text(" \n", encoding="utf-8")
    _refused(f"CONSILIUM_BROKER_URL: {file} is empty")
    file.write_bytes(b"secret\xff")
    _refused(f"CONSILIUM_BROKER_URL: {file} cannot be read (no UTF-8)")
    file.unlink()
    file.mkdir()
    _refused(f"CONSILIUM_BROKER_URL: {file} cannot be read (Is a directory)")
    monkeypatch.setenv("CONSILIUM_SECRETS_DIR", str(bare / "none"))
    _refused(f"CONSILIUM_SECRETS_DIR: {bare / 'none'} is no folder")


def _refused(told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


def test_redis_is_the_brokers_unless_that_is_rabbitmq() -> None:
    """One address does for Redis; beside RabbitMQ a second one is asked for, and must be a Redis'."""
    one, two = "redis://:a@host/0", "redis://:b@other/1"
    rabbit = "amqp://u:p@host/"
    assert Settings(_env_file=None, broker_url=one).require_redis() == one
    assert Settings(_env_file=None, broker_url=one, redis_url=two).require_redis() == two
    assert Settings(_env_file=None, broker_url=rabbit, redis_url=two).require_redis() == two
    with pytest.raises(SettingsError, match="set CONSILIUM_REDIS_URL"):
        Settings(_env_file=None, broker_url=rabbit).require_redis()
    with pytest.raises(SettingsError, match="CONSILIUM_REDIS_URL: it must begin with redis"):
        Settings(_env_file=None, broker_url=rabbit, redis_url=rabbit).require_redis()
    with pytest.raises(SettingsError, match="CONSILIUM_BROKER_URL: it must begin with"):
        Settings(_env_file=None, broker_url="kafka://u:secret@host").require_broker()
