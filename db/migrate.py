"""Migrations: `python -m db.migrate upgrade|downgrade|check|revision -m TEXT [URL]` (Alembic underneath)."""

from __future__ import annotations

import argparse
from pathlib import Path

from alembic import command
from alembic.config import Config

from shared.settings import get_settings


def config(database_url: str) -> Config:
    """Alembic's configuration, without a file: the scripts lie beside this module."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    made.attributes["database_url"] = database_url
    return made


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema to `revision`; several at once wait for each other. Nothing to do is no error."""
    command.upgrade(config(database_url), revision)


def downgrade(database_url: str, revision: str = "base") -> None:
    """Take the schema back to `revision`."""
    command.downgrade(config(database_url), revision)


def check(database_url: str) -> None:
    """Raise `alembic.util.CommandError` if the tables declared differ from those migrated."""
    command.check(config(database_url))


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m db.migrate", description=__doc__)
    parser.add_argument("what", choices=["upgrade", "downgrade", "check", "revision"])
    parser.add_argument("-m", "--message", default="change")
    parser.add_argument("url", nargs="?", help="default: CONSILIUM_DATABASE_URL")
    asked = parser.parse_args()
    url = asked.url or get_settings().require_database()
    if asked.what == "revision":
        command.revision(config(url), asked.message, autogenerate=True)
    else:
        {"upgrade": upgrade, "downgrade": downgrade, "check": check}[asked.what](url)


if __name__ == "__main__":
    main()
