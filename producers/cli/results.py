"""`consilium results`: one line per record of the input, in its order."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer
from sqlalchemy import select

from db.tables import Submission
from producers.cli.acts import audit
from producers.cli.common import Format, NotFound, database, emit, out, table, vault
from producers.results import pages


def results(
    submission: Annotated[uuid.UUID, typer.Argument(help="See `consilium status`.")],
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Recommendations, what a person must look at and why, and the records that were set aside."""
    with database() as session:
        source_id = session.scalar(select(Submission.source_id).where(Submission.id == submission))
        if source_id is None:
            raise NotFound(f"no submission {submission}: see `consilium status`")
        audit(session, "results.read", str(submission), source_id)
    rows = [row for page in pages(database, vault(), submission) for row in page]
    if format_ is not Format.table:
        emit(rows, format_)
        return
    out.print(table([_short(row) for row in rows]))
    if any(row["simulated"] for row in rows):
        out.print("(simulated) = answered by simulated models", style="dim")


def _short(row: dict[str, Any]) -> dict[str, Any]:
    mark = " (simulated)" if row["simulated"] else ""
    return {
        "line": row["line"],
        "id": row["id"],
        "state": row["state"],
        "recommendation": (", ".join(row["recommendation"]) or "no medication") + mark
        if row["recommendation"] is not None
        else None,
        "stop": ", ".join(row["stop"] or ()) or None,
        "grade": row["grade"],
        "agreement": row["agreement"],
        "confidence": row["confidence"],
        "findings": None if row["findings"] is None else len(row["findings"]),
        "answers": f"{row['answered']} of {row['seats']}" if row["seats"] else None,
        "why": row["reason"],
        "consultation": row["consultation"],
    }
