"""`consilium workers`: the worker processes that have registered, and when they were last heard of."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlalchemy import text

from producers.cli.common import Format, database, emit, out, table

SILENT_S = 30
"""A worker that says nothing for so long is silent: killed, hanging, or cut off from PostgreSQL."""

WORKERS = text("""
    SELECT name,
           CASE WHEN stopped_at IS NOT NULL THEN 'stopped'
                WHEN seen_at < now() - make_interval(secs => :silent_s) THEN 'silent'
                ELSE 'running' END AS state,
           pid, queues, slots, started_at, seen_at, consumed_at, stopped_at,
           extract(epoch FROM now() - seen_at)::float AS seen_s,
           extract(epoch FROM now() - consumed_at)::float AS consumed_s
    FROM workers
    WHERE :every OR stopped_at IS NULL
    ORDER BY name
""")


def workers(
    every: Annotated[bool, typer.Option("--all", help="Also those that have stopped.")] = False,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Worker processes: running, silent (not seen for 30 s) or stopped, and when each last took a message."""
    with database() as session:
        found = session.execute(WORKERS, {"every": every, "silent_s": SILENT_S})
        rows = [dict(row._mapping) for row in found]
    if format_ is not Format.table:
        emit(rows, format_)
    elif rows:
        out.print(table([_short(row) for row in rows]))
    else:
        out.print(
            "no worker has registered" if every else "no worker runs: consilium up, or --all for the past"
        )


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("name", "state", "pid", "queues", "slots")},
        "started": f"{row['started_at']:%Y-%m-%d %H:%M:%S}Z",
        "seen": f"{row['seen_s']:.0f} s ago",
        "last consumed": f"{row['consumed_s']:.0f} s ago",
    }
