"""Row level security: as what somebody comes, and which source's rows he sees and changes."""

from __future__ import annotations

import uuid

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError, ProgrammingError

from db.engine import Role, source_transaction, transaction
from producers.intake import Order, receive
from producers.readers.ndjson import read_ndjson
from tests import accepted
from tests.accepted import TRIO
from workers.context import Context

# Every table with a source_id, and the roles whose policies it has; a table of no policy is open to none.
UNPROTECTED = """
    SELECT c.relname FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'source_id' AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
      AND (NOT c.relrowsecurity
           OR NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'own_rows'
                          AND pg_get_expr(p.polqual, p.polrelid) LIKE
                              '(source_id = ( SELECT%current_setting(''consilium.source_id''%')
           OR NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'all_rows'
                          AND p.polroles = ARRAY['consilium_work'::regrole::oid]))
    ORDER BY 1
"""


@pytest.fixture
def two(database_url: str) -> tuple[Context, uuid.UUID, uuid.UUID]:
    """Two sources, each with an accepted record: a context, the first's id and the other's."""
    ctx = accepted.context(database_url)
    accepted.ask(ctx, "INSERT INTO sources (id, name, policy) VALUES (gen_random_uuid(), 'other', '{}')")
    for source in ("local", "other"):
        accepted.submit(ctx, source=source)
    ids = dict(accepted.ask(ctx, "SELECT name, id FROM sources"))
    return ctx, ids["local"], ids["other"]


def _all(ctx: Context, source: uuid.UUID | None, role: Role, statement: str) -> list[tuple[object, ...]]:
    with source_transaction(ctx.settings.require_database(), source, role) as session:
        done = session.execute(text(statement))
        return [tuple(row) for row in done] if done.returns_rows else []


def test_every_table_of_sources_has_its_policies(database_url: str) -> None:
    """Asked of the catalogue, so that a table that comes later cannot be forgotten."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute(UNPROTECTED).fetchall() == []
        connection.execute("CREATE TABLE later (id uuid, source_id uuid)")
        assert connection.execute(UNPROTECTED).fetchall() == [("later",)]


@pytest.mark.parametrize("role", ["accept", "read"])
def test_of_each_table_only_the_sources_rows_are_seen(
    two: tuple[Context, uuid.UUID, uuid.UUID], role: Role
) -> None:
    ctx, mine, _ = two
    tables = accepted.ask(
        ctx,
        "SELECT table_name FROM information_schema.columns WHERE column_name = 'source_id' "
        "AND table_schema = 'public' AND has_table_privilege(%s, table_name, 'SELECT')",
        f"consilium_{role}",
    )
    assert {("submissions",), ("clinical_documents",), ("data_keys",), ("audit",)} <= set(tables)
    filled = 0
    for (table,) in tables:
        assert _all(ctx, None, role, f"SELECT * FROM {table}") == []
        seen = _all(ctx, mine, role, f"SELECT DISTINCT source_id FROM {table}")
        assert seen in ([], [(mine,)]), table
        filled += bool(seen)
    assert filled >= 7
    assert _all(ctx, mine, role, "SELECT id FROM sources") == [(mine,)]


def test_another_sources_rows_are_not_written(two: tuple[Context, uuid.UUID, uuid.UUID]) -> None:
    """They are not there to be changed or deleted, and none can be added in its name."""
    ctx, mine, other = two
    url = ctx.settings.require_database()
    (theirs,) = accepted.ask(ctx, "SELECT id FROM submissions WHERE source_id = %s", other)
    with source_transaction(url, mine, "accept") as session:
        changed = session.execute(text("UPDATE submissions SET state = 'cancelled' RETURNING source_id"))
        assert changed.all() == [(mine,)]
        assert session.execute(text("DELETE FROM data_keys RETURNING source_id")).all() == [(mine,)]
    for attempt in (
        f"INSERT INTO audit (source_id, who, what, which) VALUES ('{other}', 'x', 'x', 'x')",
        "INSERT INTO audit (who, what, which) VALUES ('x', 'x', 'x')",  # about the site
        f"UPDATE submissions SET source_id = '{other}'",
        "INSERT INTO submission_chunks (submission_id, source_id, ordinal, digest) "
        f"VALUES ('{theirs[0]}', '{other}', 0, '')",
    ):
        with pytest.raises(ProgrammingError, match="row-level security"):
            _all(ctx, mine, "accept", attempt)
    assert accepted.ask(ctx, "SELECT state FROM submissions WHERE source_id = %s", other) == [("open",)]
    assert accepted.ask(ctx, "SELECT count(*) FROM data_keys WHERE source_id = %s", other) == [(1,)]


REFUSED: tuple[tuple[Role, str], ...] = (
    ("accept", "UPDATE sources SET policy = '{}'"),
    ("accept", "SELECT digest FROM api_keys"),
    ("accept", "INSERT INTO api_keys (id, source_id, name, digest) SELECT id, id, '', '' FROM sources"),
    ("accept", "DELETE FROM submissions"),
    ("accept", "INSERT INTO snapshots (id) VALUES (gen_random_uuid())"),
    ("accept", "DELETE FROM audit"),
    ("accept", "CREATE TABLE mine (id int)"),
    ("read", "SELECT digest FROM api_keys"),
    ("read", "SELECT jwks FROM api_clients"),
    ("enter", "SELECT * FROM submissions"),
    ("enter", "SELECT * FROM clinical_documents"),
    ("enter", "UPDATE api_keys SET scopes = '{operate}'"),
    ("work", "UPDATE sources SET policy = '{}'"),
    ("work", "INSERT INTO api_keys (id, source_id, name, digest) SELECT id, id, '', '' FROM sources"),
    ("work", "ALTER TABLE audit DISABLE TRIGGER append_only"),
    ("work", "DROP POLICY all_rows ON sources"),
)


def test_each_role_is_refused_what_it_may_not(two: tuple[Context, uuid.UUID, uuid.UUID]) -> None:
    ctx, mine, _ = two
    for role, statement in REFUSED:
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            _all(ctx, mine, role, statement)


def test_who_reads_changes_nothing(two: tuple[Context, uuid.UUID, uuid.UUID]) -> None:
    """The transaction itself is read-only, whatever was granted."""
    ctx, mine, _ = two
    with pytest.raises(InternalError, match="read-only"):
        _all(ctx, mine, "read", "INSERT INTO audit (who, what, which) VALUES ('x', 'x', 'x')")


def test_who_enters_cannot_make_a_key_that_lasts(two: tuple[Context, uuid.UUID, uuid.UUID]) -> None:
    """Only a client's token may be added, for an hour at most; a source's key is not deleted."""
    ctx, mine, _ = two
    with pytest.raises(ProgrammingError, match="row-level security"):
        _all(
            ctx,
            None,
            "enter",
            f"INSERT INTO api_keys (id, source_id, name, digest) VALUES ('{mine}', '{mine}', 'x', '')",
        )


def test_who_works_sees_all(two: tuple[Context, uuid.UUID, uuid.UUID]) -> None:
    ctx, mine, other = two
    seen = _all(ctx, None, "work", "SELECT source_id FROM consultations")
    assert {source for (source,) in seen} == {mine, other}


def test_role_and_source_end_with_the_transaction(two: tuple[Context, uuid.UUID, uuid.UUID]) -> None:
    """The connection goes back to the pool as it was: the next transaction sees all, and may write."""
    ctx, mine, _ = two
    url = ctx.settings.require_database()
    with source_transaction(url, mine, "read") as session:
        backend = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with transaction(url) as session:
        asked = text("SELECT pg_backend_pid(), current_user = session_user, count(*) FROM submissions")
        assert tuple(session.execute(asked).one()) == (backend, True, 2)
        session.execute(text("INSERT INTO audit (who, what, which) VALUES ('x', 'x', 'x')"))


def test_intake_works_as_accept(two: tuple[Context, uuid.UUID, uuid.UUID]) -> None:
    """A batch is received with the rights of `accept` alone, again under its key, and completely."""
    ctx, mine, _ = two
    url = ctx.settings.require_database()
    line = b'{"id": "a", "vignette": "A man of seventy has had pain in the chest since this morning."}'
    asked = Order(strategy="FIXED", models=TRIO, idempotency_key="k")
    for repeated in (False, True):
        receipt = receive(
            lambda: source_transaction(url, mine, "accept"),
            read_ndjson([line, b"{"]),
            asked,
            settings=ctx.settings,
            registry=ctx.registry,
            vault=ctx.vault,
        )
        assert (receipt.accepted, receipt.set_aside, receipt.complete) == (1, 1, True)
        assert receipt.repeated == repeated
