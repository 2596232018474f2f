"""Who may what in the database: roles, row level security, and clients that sign for a token.

A role is a group that nobody logs in as. `db.engine` takes it on for one transaction; a deployment's processes
log in as members of what they need (deploy/postgres-init.sql). Roles belong to the whole cluster, so another
database may have made them, and taking the schema down leaves them.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ROLES = ("consilium_enter", "consilium_accept", "consilium_read", "consilium_work")

# Of these even the source's own rows are not shown: who comes in is `enter`'s, what goes out is `work`'s.
SECRETS = {"api_keys", "api_clients", "api_assertions", "destinations", "deliveries"}
SHARED = {
    *("model_versions", "model_states", "prompts", "snapshots", "pauses"),
    *("workers", "heartbeats", "periodic_runs", "alembic_version"),
}
"""Tables of no source that whoever accepts or reads looks into."""

ACCEPT = {
    "INSERT": {
        *("submissions", "submission_chunks", "records", "data_keys", "clinical_documents", "consultations"),
        *("seats", "owed_answers", "choices", "outcomes", "outbox_events", "audit"),
        *("prompts", "model_versions"),
    },
    "UPDATE": {
        *("submissions", "records", "clinical_documents", "consultations", "owed_answers"),
        *("consensus", "interactions"),  # what an outcome says of them
    },
    "DELETE": {"submission_chunks", "data_keys"},
}

OF_SOURCES = """
    SELECT c.table_name FROM information_schema.columns c
    JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND c.column_name = 'source_id' AND t.table_type = 'BASE TABLE'
    ORDER BY 1
"""

# Several databases of a cluster may be migrated at once: who comes second finds the role there.
MAKE_ROLE = """
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
            CREATE ROLE {role} NOLOGIN;
        END IF;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL;
        WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'the role {role} is missing and this login may not make it: as superuser, run '
                'deploy/postgres-roles.sql on this server, then migrate again'
                USING ERRCODE = 'insufficient_privilege';
    END $$
"""
# A superuser may take on every role without being a member. (Before 16 there is no right SET of its own.)
JOIN_ROLE = """
    DO $$ BEGIN
        IF NOT pg_has_role('{role}', CASE WHEN current_setting('server_version_num')::int < 160000
                                        THEN 'MEMBER' ELSE 'SET' END) THEN
            GRANT {role} TO CURRENT_USER;
        END IF;
    EXCEPTION
        WHEN unique_violation THEN NULL;
        WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'this login may not take on the role {role}: as superuser, run '
                'deploy/postgres-roles.sql on this server, then migrate again'
                USING ERRCODE = 'insufficient_privilege';
    END $$
"""

# After a transaction that had set it, the setting is '' and no longer missing. Asked once a statement.
SOURCE = "(SELECT nullif(current_setting('consilium.source_id', true), '')::uuid)"


def upgrade() -> None:
    _clients()
    for role in ROLES:
        op.execute(MAKE_ROLE.format(role=role))
        op.execute(JOIN_ROLE.format(role=role))
        op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
    op.execute(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO consilium_work;"
        "REVOKE INSERT, UPDATE, DELETE ON alembic_version, api_keys, api_clients, site_secrets FROM consilium_work;"
        "REVOKE INSERT, UPDATE, DELETE ON sources FROM consilium_work"
    )
    of_sources = list(_tables_of_sources())
    shown = ", ".join(["sources", *sorted({*of_sources, *SHARED} - SECRETS)])
    op.execute(f"GRANT SELECT ON {shown} TO consilium_accept, consilium_read")
    for right, tables in ACCEPT.items():
        op.execute(f"GRANT {right} ON {', '.join(sorted(tables))} TO consilium_accept")
    for table, column in [("sources", "id"), *((table, "source_id") for table in of_sources)]:
        op.execute(
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
            f"CREATE POLICY own_rows ON {table} TO consilium_accept, consilium_read"
            f" USING ({column} = {SOURCE});"
            f"CREATE POLICY all_rows ON {table} TO consilium_work USING (true)"
        )
    _entering()


def _tables_of_sources() -> Iterator[str]:
    return iter(op.get_bind().execute(sa.text(OF_SOURCES)).scalars())


def _clients() -> None:
    op.create_table(
        "api_clients",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("jwks", sa.dialects.postgresql.JSONB(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_api_clients__source_id"),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_api_clients"),
        sa.UniqueConstraint("id", name="uq_api_clients__id"),
    )
    op.create_table(
        "api_assertions",
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id", "source_id"],
            ["api_clients.id", "api_clients.source_id"],
            name="fk_api_assertions__client_id_source_id",
        ),
        sa.PrimaryKeyConstraint("client_id", "source_id", "digest", name="pk_api_assertions"),
    )
    op.add_column("api_keys", sa.Column("client_id", sa.Uuid()))
    op.create_foreign_key(
        "fk_api_keys__client_id_source_id",
        "api_keys",
        "api_clients",
        ["client_id", "source_id"],
        ["id", "source_id"],
    )


def _entering() -> None:
    """Who comes in is found before his source is known: keys and clients of all, and nothing else.

    What it may add is a token of a client, which ends soon.
    """
    op.execute(
        """
        GRANT SELECT ON sources, api_keys, api_clients, api_assertions, site_secrets TO consilium_enter;
        GRANT INSERT ON api_keys, api_assertions, audit TO consilium_enter;
        GRANT DELETE ON api_keys, api_assertions TO consilium_enter;
        CREATE POLICY found ON sources FOR SELECT TO consilium_enter USING (true);
        CREATE POLICY found ON api_clients FOR SELECT TO consilium_enter USING (true);
        CREATE POLICY used ON api_assertions TO consilium_enter USING (true);
        CREATE POLICY told ON audit FOR INSERT TO consilium_enter WITH CHECK (true);
        CREATE POLICY found ON api_keys FOR SELECT TO consilium_enter USING (true);
        CREATE POLICY issued ON api_keys FOR INSERT TO consilium_enter
            WITH CHECK (client_id IS NOT NULL AND expires_at <= now() + interval '1 hour');
        CREATE POLICY cleared ON api_keys FOR DELETE TO consilium_enter
            USING (client_id IS NOT NULL AND expires_at < now());
        """
    )


def downgrade() -> None:
    of_sources = list(_tables_of_sources())
    for table, policy in op.get_bind().execute(
        sa.text("SELECT tablename, policyname FROM pg_policies WHERE schemaname = 'public'")
    ):
        op.execute(f"DROP POLICY {policy} ON {table}")
    for table in ("sources", *of_sources):
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for role in ROLES:
        op.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
        op.execute(f"REVOKE USAGE ON SCHEMA public FROM {role}")
    op.drop_constraint("fk_api_keys__client_id_source_id", "api_keys", type_="foreignkey")
    op.drop_column("api_keys", "client_id")
    op.drop_table("api_assertions")
    op.drop_table("api_clients")
