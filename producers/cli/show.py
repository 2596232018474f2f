"""`consilium show`: one consultation in full, for a person."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

import typer

from producers.case import Case, load_case
from producers.case_lists import drugs_of
from producers.case_view import case_view
from producers.cli.acts import audit
from producers.cli.common import Format, NotFound, database, out, vault
from shared.refinement import Edit, in_words

WIDTH = 120
"""Most columns of what is prose."""


def show(
    consultation: Annotated[uuid.UUID, typer.Argument(help="See `consilium results`.")],
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Vignette, answers under letters, then whose they were, grades, reliabilities, lists, every call."""
    with database() as session:
        case = load_case(session, vault(), consultation)
        if case is None:
            raise NotFound(f"no consultation {consultation}: see `consilium results SUBMISSION`")
        audit(session, "consultation.read", str(consultation), case.row["source_id"])
    if format_ is Format.table:
        out.print(case_view(case), width=min(out.width, WIDTH))
    else:
        print(json.dumps(_as_json(case), default=str, indent=None if format_ is Format.ndjson else 2))


def _as_json(case: Case) -> dict[str, Any]:
    return {
        "consultation": case.row,
        "vignette": case.vignette.model_dump(mode="json") if case.vignette else None,
        "answers": [
            {
                **{k: v for k, v in vars(answer).items() if k != "recommendation"},
                "recommendation": answer.recommendation and answer.recommendation.model_dump(mode="json"),
            }
            for answer in case.answers
        ],
        "reviews": [
            {"reviewer": u, "author": i, "grade": grade, "critique": case.critiques[u, i]}
            for (u, i), grade in sorted(case.grades.items())
        ],
        "drugs": drugs_of(case) if case.row["refined"] is not None else None,
        "steps": [{**step, "in_words": in_words(Edit.from_json(step))} for step in case.row["trace"] or ()],
        "calls": list(case.calls),
    }
