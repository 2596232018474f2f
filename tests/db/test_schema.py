"""The schema: up, down, nothing forgotten, names by the rule, and what the database itself forbids."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid

import psycopg
import pytest
from sqlalchemy import inspect, make_url

from db import migrate
from db.engine import engine_for, transaction
from db.tables import Base
from producers import health
from shared.errors import SettingsError

BELONG_TO_A_SOURCE = {
    "choices",
    "clinical_documents",
    "consensus",
    "consultations",
    "data_keys",
    "deliveries",
    "destinations",
    "evaluation_arms",
    "generations",
    "interactions",
    "model_calls",
    "outbox_events",
    "outcomes",
    "owed_answers",
    "records",
    "reviews",
    "seats",
    "submissions",
}


def test_up_down_up_leaves_nothing_and_brings_all(empty_database_url: str) -> None:
    """Migrating down removes everything that migrating up has made, and up again works."""
    migrate.upgrade(empty_database_url)
    tables = set(inspect(engine_for(empty_database_url)).get_table_names())
    assert tables == {*Base.metadata.tables, "alembic_version"}
    migrate.downgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        left = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert {name for (name,) in left} <= {"alembic_version", "alembic_version_pkc"}
    migrate.upgrade(empty_database_url)


def test_a_schema_of_a_newer_version_is_told_so(empty_database_url: str) -> None:
    """By what migrates and by `health`, with the way out."""
    migrate.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SettingsError, match=r"'9999'; this one knows up to \d{4}\): install the newer one"):
        migrate.upgrade(empty_database_url)
    with transaction(empty_database_url) as session:
        checked = health.migrated(session, empty_database_url)
    assert (checked.level, "install the newer one" in checked.told) == ("problem", True)


def test_a_login_that_may_not_migrate_is_told_so(empty_database_url: str) -> None:
    """With PostgreSQL's reason, the remedy and an exit code of its own, and no traceback."""
    name = f"consilium_nobody_{os.getpid()}"
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'of-no-use'")
        connection.execute(f"GRANT ALL ON SCHEMA public TO {name}")
    try:
        where = make_url(empty_database_url).set(username=name, password="of-no-use")
        url = where.render_as_string(hide_password=False)
        with pytest.raises(SettingsError, match=r"may not migrate: .* take on the role .*roles\.sql"):
            migrate.upgrade(url)
        engine_for(url).dispose()
        ended = subprocess.run(
            [sys.executable, "-m", "db.migrate", "upgrade", url], capture_output=True, text=True
        )
        assert ended.returncode == SettingsError.exit_code
        assert ended.stderr.startswith("db.migrate: CONSILIUM_DATABASE_URL: its login may not migrate")
        assert "of-no-use" not in ended.stderr
    finally:
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {name}")
            connection.execute(f"DROP ROLE {name}")


def test_declared_and_migrated_schema_are_the_same(database_url: str) -> None:
    """`alembic check` finds nothing to do."""
    migrate.check(database_url)


def test_names_follow_the_rule(database_url: str) -> None:
    """Every constraint and index has a name by the naming rule, short enough for PostgreSQL."""
    with psycopg.connect(database_url) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT conname FROM pg_constraint c WHERE connamespace = 'public'::regnamespace "
                "AND contype <> 'n' "
                "UNION SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"
            )
            if not name.startswith("alembic")
        ]
    assert len(names) > 60
    assert [n for n in names if not re.fullmatch(r"(pk|uq|ck|fk|ix)_[a-z0-9_]+", n) or len(n) > 63] == []


def test_whatever_belongs_to_a_source_says_so(database_url: str) -> None:
    """`source_id` is NOT NULL in each such table, and references between them carry it."""
    inspector = inspect(engine_for(database_url))
    for table in BELONG_TO_A_SOURCE:
        column = next(c for c in inspector.get_columns(table) if c["name"] == "source_id")
        assert not column["nullable"], table
        for key in inspector.get_foreign_keys(table):
            if key["referred_table"] in BELONG_TO_A_SOURCE:
                assert "source_id" in key["constrained_columns"], (table, key["name"])


def test_clinical_text_can_only_lie_in_one_table() -> None:
    """Outside `clinical_documents` no column holds long free text: only codes, slugs, digests, references."""
    long_text = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if str(column.type) in ("TEXT", "VARCHAR")
    }
    assert long_text == {"prompts.template"}  # ours, not a patient's


@pytest.mark.parametrize("table", ["audit", "outcomes", "snapshots"])
def test_append_only_tables_refuse_change(database_url: str, table: str) -> None:
    """UPDATE, DELETE and TRUNCATE of history are refused by the database."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
                connection.execute(statement)


def test_erasing_a_key_keeps_references(database_url: str) -> None:
    """Deleting a data key row leaves the document and whatever refers to it, without a key."""
    key, document = uuid.uuid4(), uuid.uuid4()
    with psycopg.connect(database_url, autocommit=True) as connection:
        (source,) = connection.execute("SELECT id FROM sources").fetchone() or ()
        connection.execute(
            "INSERT INTO data_keys (id, source_id, site_key_id, wrapped) VALUES (%s, %s, 'k', '')",
            (key, source),
        )
        connection.execute(
            "INSERT INTO clinical_documents (id, source_id, kind, key_id, ciphertext) "
            "VALUES (%s, %s, 'vignette', %s, '')",
            (document, source, key),
        )
        connection.execute("DELETE FROM data_keys WHERE id = %s", (key,))
        found = connection.execute(
            "SELECT key_id, source_id FROM clinical_documents WHERE id = %s", (document,)
        ).fetchone()
    assert found == (None, source)
