"""`consilium erase`: the text of single records is destroyed for good."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.queries import erasing
from db.tables import Consultation
from producers.cli.acts import WHO
from producers.cli.common import Format, NotFound, database, emit, out


def erase(
    records: Annotated[list[uuid.UUID], typer.Argument(help="Record ids; see `consilium show`.")],
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Erase records: no text of theirs can ever be read again. Ids, numbers and costs stay.

    Those that are not there are named at the end, after all others are erased.
    """
    rows: list[dict[str, Any]] = []
    missing: list[uuid.UUID] = []
    for record in records:
        with database() as session:
            found = erasing.erase(session, record, who=WHO)
        if found is None:
            missing.append(record)
        else:
            rows.append({k: found[k] for k in ("record", "consultation", "consultation_state", "erased_at")})
    if rows:
        emit(rows, format_)
    if format_ is Format.table and rows:
        out.print("backups keep their text until the copies of data_keys in them are gone: docs/security.md")
    if missing:
        with database() as session:
            told = [_told(session, record) for record in missing]
        raise NotFound(f"no such record: {'; '.join(told)}")


def _told(session: Session, given: uuid.UUID) -> str:
    record = session.scalar(select(Consultation.record_id).where(Consultation.id == given))
    if record is None:
        return f"{given}, see `consilium show CONSULTATION`, or `results SUBMISSION --format csv`"
    return f"{given} is a consultation, whose record is {record}"
