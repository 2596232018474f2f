"""`consilium results`: one line per record of the input, in its order."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from db.queries import reports
from db.queries.documents import Vault
from producers.cli.common import Format, NotFound, database, emit, out, table, vault
from shared.measures import right
from shared.schemas import Gold

CHUNK = 500
"""Texts held open at once."""


def results(
    submission: Annotated[uuid.UUID, typer.Argument(help="See `consilium status`.")],
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Recommendations, what a person must look at and why, and the records that were set aside."""
    with database() as session:
        if not reports.submissions(session, submission):
            raise NotFound(f"no submission {submission}: see `consilium status`")
        rows = rows_of(session, vault(), submission)
    if format_ is not Format.table:
        emit(rows, format_)
        return
    out.print(table([_short(row) for row in rows]))
    if any(row["simulated"] for row in rows):
        out.print("(simulated) = answered by simulated models", style="dim")


def rows_of(session: Session, vault_: Vault, submission: uuid.UUID) -> Sequence[dict[str, Any]]:
    """The results as programs get them."""
    rows = reports.results(session, submission)
    ids = _own_ids(session, vault_, [r["document_id"] for r in rows if r["record"] == "accepted"])
    return [_row(row, ids.get(row["document_id"])) for row in rows]


def _own_ids(session: Session, vault_: Vault, documents: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The source's own ids, from the sealed records; none for those that were erased."""
    return {
        document_id: json.loads(text)["id"]
        for at in range(0, len(documents), CHUNK)
        for document_id, text in vault_.open_all(session, documents[at : at + CHUNK]).items()
    }


def _row(row: dict[str, Any], own_id: str | None) -> dict[str, Any]:
    gold = row["gold"]
    known = row["refined"] is not None
    return {
        "line": row["line"],
        "id": own_id,
        "state": row["state"] or row["record"],
        "reason": row["rule"] or row["reason"] or row["error_reason"],
        "error_path": row["error_path"],
        "kind": row["kind"],
        "recommendation": row["refined"],
        "stop": row["stops"],
        "minority": row["minority"],
        "findings": row["findings"],
        "grade": row["grade"],
        "variance": row["variance"],
        "agreement": row["agreement"],
        "confidence": row["confidence"],
        "right": right(row["refined"], Gold.model_validate(gold)) if known and gold else None,
        "seats": row["seats"],
        "answered": row["answered"] if row["seats"] else None,
        "substituted": row["substituted"] if row["seats"] else None,
        "simulated": row["simulated"],
        "consultation": row["consultation"] and str(row["consultation"]),
    }


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
