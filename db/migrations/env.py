"""Alembic's environment: online only, one transaction, one migrator at a time."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from db.engine import engine_for
from db.tables import Base

ADVISORY_LOCK = 7_302_001  # any number: the same for all migrators

with engine_for(context.config.attributes["database_url"]).connect() as connection:
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
    connection.commit()
    try:
        context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()
