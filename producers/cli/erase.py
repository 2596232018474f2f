"""`consilium erase`: the text of single records is destroyed for good."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from db.queries import erasing
from producers.cli.acts import WHO
from producers.cli.common import Format, NotFound, database, emit, out


def erase(
    records: Annotated[list[uuid.UUID], typer.Argument(help="Record ids; see `consilium results`.")],
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Erase records: no text of theirs can ever be read again. Ids, numbers and costs stay.

    Those that are not there are named at the end, after all others are erased.
    """
    rows, missing = [], []
    for record in records:
        with database() as session:
            found = erasing.erase(session, record, who=WHO)
        if found is None:
            missing.append(str(record))
        else:
            rows.append({k: found[k] for k in ("record", "consultation", "consultation_state", "erased_at")})
    if rows:
        emit(rows, format_)
    if format_ is Format.table and rows:
        out.print("backups keep their text until the copies of data_keys in them are gone: docs/security.md")
    if missing:
        raise NotFound(f"no such record: {', '.join(missing)}; see `consilium results SUBMISSION`")
