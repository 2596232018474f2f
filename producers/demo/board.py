"""The live board: every case by stage, and one case in full while its answers and grades come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from producers.case import Case
from producers.case_view import grades_table, said, state_of, whose
from producers.demo.score import Scored

STYLES = {
    "waiting": "dim",
    "generating": "cyan",
    "reviewing": "yellow",
    "concluding": "magenta",
    "completed": "green",
    "needs_review": "bright_yellow",
    "failed": "red",
}


def stage_of(row: dict[str, Any]) -> str:
    """Its state once it has ended, its stage until then."""
    return str(row["stage"] if row["state"] == "open" else row["state"])


def board_view(rows: Sequence[dict[str, Any]], names: dict[Any, str]) -> RenderableType:
    """One short line a case: answers, reviews, stage."""
    return Columns([_line(row, names[row["id"]]) for row in rows], equal=True, column_first=True, width=38)


def _line(row: dict[str, Any], name: str) -> Text:
    stage = stage_of(row)
    owed = row["reviews_owed"] or row["n"] * (row["n"] - 1)
    answers = "●" * row["answers"] + "○" * (row["n"] - row["answers"])
    reviews = "▪" * row["reviews"] + "▫" * (owed - row["reviews"])
    return Text.assemble(
        (f"{name} ", "bold"), f"{answers} {reviews} ", (stage.replace("_", " "), STYLES[stage])
    )


def featured_view(case: Case) -> RenderableType:
    """The one case: what the three said as A, B, C, the grades so far, and at the end the names."""
    ended = case.row["state"] != "open"
    vignette = case.vignette.vignette if case.vignette else ""
    parts: list[RenderableType] = [
        Text(f"\n{case.vignette.id if case.vignette else ''}: one case in full", "bold"),
        Text(vignette, "dim"),
        Text(),
        *(Text.assemble((f"{a.label}  ", "bold"), said(a)) for a in case.answers),
        Text(),
        grades_table(case),
    ]
    if ended:
        parts.append(Text())
        for name in ("highest_graded", "majority", "refined"):
            drugs = ", ".join(case.row[name] or []) or "no medication"
            parts.append(Text.assemble(f"{name.replace('_', ' '):<15}", (drugs, "bold")))
        parts.append(Text.assemble(f"{'stored as':<15}", (state_of(case), "bold"), "\n"))
        parts.append(whose(case))
    return Group(*parts)


def results_view(scored: Sequence[Scored]) -> Table:
    """The results table: council against its best member, and every case a person must look at."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("case", "state", "council's list (simulated)", "right", "F1", "members right"):
        table.add_column(column, overflow="fold")
    table.add_column("best member")
    table.add_column("its F1")
    table.add_column("council is")
    for one in scored:
        verdict = one.against_best_member
        table.add_row(
            one.name,
            one.state.replace("_", " ") + (f": {one.reason.replace('_', ' ')}" if one.reason else ""),
            "·" if one.council is None else ", ".join(one.council) or "no medication",
            {True: "yes", False: "no", None: "·"}[one.council_right],
            "·" if one.council_f1 is None else f"{one.council_f1:.2f}",
            f"{one.members_right} of {one.members}",
            one.best_member,
            "·" if one.best_member_f1 is None else f"{one.best_member_f1:.2f}",
            Text(verdict, {"better": "green", "worse": "red"}.get(verdict, "dim")),
        )
    return table
