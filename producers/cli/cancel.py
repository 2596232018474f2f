"""`consilium cancel`: a submission is taken back, as far as it has not begun."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Annotated

import typer
from sqlalchemy import select

from db.tables import Submission
from producers import cancelling
from producers.cli.acts import WHO
from producers.cli.common import Format, NotFound, database, emit


def cancel(
    submission: Annotated[uuid.UUID, typer.Argument(help="See `consilium status`.")],
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Cancel what has not begun; what is in flight goes on, and what has ended stays.

    Of a submission that is not all there nothing is kept. Texts of what is cancelled stay until their
    retention ends: `consilium erase` destroys them at once.
    """
    with database() as session:
        source_id = session.scalar(select(Submission.source_id).where(Submission.id == submission))
    found = source_id and cancelling.cancel(database, submission, who=WHO, source_id=source_id)
    if not found:
        raise NotFound(f"no submission {submission}: see `consilium status`")
    emit([asdict(found)], format_)
