"""Results as programs get them: one row for each record of the input, in its order, page by page."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy.orm import Session

from db.queries import reports
from db.queries.documents import Vault
from shared.measures import right
from shared.schemas import Gold

PAGE = 500
"""Records read at once, each page in a short transaction of its own: memory stays flat, no row is locked."""


def pages(
    opened: Callable[[], AbstractContextManager[Session]],
    vault: Vault,
    submission_id: uuid.UUID,
    *,
    set_aside: bool = False,
) -> Iterator[list[dict[str, Any]]]:
    """All rows of a submission, or those of what was set aside; each page as of its own moment."""
    after = -1
    while True:
        with opened() as session:
            found = reports.results(session, submission_id, after=after, most=PAGE, set_aside=set_aside)
            ids = _own_ids(session, vault, [r["document_id"] for r in found if r["record"] == "accepted"])
        yield [_row(row, ids.get(row["document_id"])) for row in found]
        if len(found) < PAGE:
            return
        after = found[-1]["ordinal"]


def _own_ids(session: Session, vault: Vault, documents: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The source's own ids, from the sealed records; none for those that were erased."""
    return {id_: json.loads(text)["id"] for id_, text in vault.open_all(session, documents).items()}


def _row(row: dict[str, Any], own_id: str | None) -> dict[str, Any]:
    gold = row["gold"]
    known = row["refined"] is not None
    return {
        "line": row["line"],
        "id": own_id,
        "state": row["state"] or row["record"],
        "reason": row["rule"] or row["reason"] or row["error_reason"],
        "error_code": row["error_code"],
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
        "record": str(row["id"]),
        "erased_at": row["erased_at"] and row["erased_at"].isoformat(),
    }
