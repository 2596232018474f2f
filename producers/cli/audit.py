"""`consilium audit`: who submitted, read, exported, requeued, erased, and what else was decided by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from db.queries import audit as lines
from producers.cli.acts import age, source_named
from producers.cli.common import Format, database, emit


def audit(
    source: Annotated[str | None, typer.Option("--source", help="Only about this source.")] = None,
    what: Annotated[str | None, typer.Option("--what", help="Only this: submit, read, export, …")] = None,
    since: Annotated[str | None, typer.Option("--since", help="90m, 24h, 30d: not older.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Lines.")] = 50,
    all_: Annotated[bool, typer.Option("--all", help="However many there are.")] = False,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Who did what to which thing, the newest first. Lines are added, and never changed."""
    back = age(since, "--since")
    with database() as session:
        rows = lines.listed(
            session,
            source_id=None if source is None else source_named(session, source).id,
            what=what,
            since=None if back is None else datetime.now(UTC) - back,
            most=None if all_ else most,
        )
    emit(rows, format_)
