"""Migrations: `python -m db.migrate upgrade|downgrade|check|revision -m TEXT [URL]` (Alembic underneath)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from shared.errors import ConsiliumError, SettingsError
from shared.settings import get_settings


def config(database_url: str) -> Config:
    """Alembic's configuration, without a file: the scripts lie beside this module."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    made.attributes["database_url"] = database_url
    return made


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema to `revision`; several at once wait for each other. Nothing to do is no error.

    Raises `SettingsError`: in PostgreSQL's words where the login may not, and where a newer version has been
    at work; `OperationalError` if PostgreSQL is away.
    """
    try:
        command.upgrade(config(database_url), revision)
    except CommandError as error:
        raise SettingsError(
            f"the schema was made by another version of Consilium ({error}; this one knows up to "
            f"{head(database_url)}): install the newer one, or restore a backup from before it"
        ) from None
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        raise SettingsError(
            f"CONSILIUM_DATABASE_URL: its login may not migrate: {error.orig.diag.message_primary}"
        ) from None


def downgrade(database_url: str, revision: str = "base") -> None:
    """Take the schema back to `revision`."""
    command.downgrade(config(database_url), revision)


def check(database_url: str) -> None:
    """Raise `alembic.util.CommandError` if the tables declared differ from those migrated."""
    command.check(config(database_url))


def head(database_url: str) -> str | None:
    """The newest revision that there is."""
    return ScriptDirectory.from_config(config(database_url)).get_current_head()


def knows(database_url: str, revision: str) -> bool:
    """Whether that is a revision of this version."""
    try:
        ScriptDirectory.from_config(config(database_url)).get_revision(revision)
    except CommandError:
        return False
    return True


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m db.migrate", description=__doc__)
    parser.add_argument("what", choices=["upgrade", "downgrade", "check", "revision"])
    parser.add_argument("-m", "--message", default="change")
    parser.add_argument("url", nargs="?", help="default: CONSILIUM_DATABASE_URL")
    asked = parser.parse_args()
    try:
        url = asked.url or get_settings().require_database()
        if asked.what == "revision":
            command.revision(config(url), asked.message, autogenerate=True)
        else:
            {"upgrade": upgrade, "downgrade": downgrade, "check": check}[asked.what](url)
    except ConsiliumError as error:
        print(f"db.migrate: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
