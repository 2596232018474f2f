"""A case on the terminal: the answers under letters, the grades, and at the end whose they were."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from producers.case import Answer, Case
from producers.case_lists import views


def case_view(case: Case, *, reveal: bool = True, calls: bool = True) -> Group:
    """The whole case; `reveal`: uncover the names."""
    return Group(*_parts(case, reveal, calls))


def _parts(case: Case, reveal: bool, calls: bool) -> Iterator[RenderableType]:
    row = case.row
    yield Text(f"consultation {row['id']} · {row['kind']} · {state_of(case)}", "bold")
    yield Text(f"record {row['record_id']} · submission {row['submission_id']}", "dim")
    yield Panel(Text(case.vignette.vignette if case.vignette else "(erased)"), title="vignette", expand=True)
    yield _answers(case)
    yield grades_table(case)
    if row["refined"] is not None:
        yield from views(case)
    if reveal:
        yield whose(case)
    if calls:
        yield _calls(case)


def _answers(case: Case) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="answers", title_justify="left")
    table.add_column("")
    table.add_column("says")
    for answer in case.answers:
        table.add_row(answer.label, said(answer))
    return table


def state_of(case: Case) -> str:
    """Its state once ended, its stage until then, and why."""
    row = case.row
    state = str(row["state"] if row["state"] != "open" else row["stage"]).replace("_", " ")
    why = row["rule"] or row["reason"]
    return f"{state} ({why.replace('_', ' ')})" if why else state


def said(answer: Answer) -> str:
    """One answer in a line or a few."""
    if answer.recommendation is None:
        return {"owed": "…", "excused": f"excused: {answer.reason}"}.get(answer.state, "(erased)")
    orders = [
        " ".join(part for part in (m.action, m.name, m.dose, m.route, m.frequency) if part)
        for m in answer.recommendation.medications
    ]
    return "; ".join(orders) or answer.recommendation.decision.replace("_", " ")


def grades_table(case: Case) -> Table:
    """Rows review, columns are reviewed; consensus and reliability beside."""
    detail = case.row["detail"] or {}
    table = Table(box=None, pad_edge=False, header_style="bold", title="grades", title_justify="left")
    table.add_column("reviewer")
    for author in case.answers:
        table.add_column(f"of {author.label}", justify="right")
    table.add_column("reliability", justify="right")
    for reviewer in case.answers:
        cells = [
            "–" if author.seat == reviewer.seat else _number(case.grades.get((reviewer.seat, author.seat)))
            for author in case.answers
        ]
        reliability = detail.get("reviewers", {}).get(str(reviewer.seat), {}).get("reliability")
        table.add_row(reviewer.label, *cells, _number(reliability))
    if detail:
        cells = [_number(detail["answers"].get(str(author.seat), {}).get("grade")) for author in case.answers]
        table.add_row("consensus", *cells, "", style="bold")
    return table


def _number(value: float | None) -> str:
    return "·" if value is None else f"{value:.2f}"


def whose(case: Case) -> Table:
    """The names, uncovered."""
    table = Table(
        box=None, pad_edge=False, header_style="bold", title="whose they were", title_justify="left"
    )
    for column in ("", "model", "returned as", "family", "location"):
        table.add_column(column)
    for a in case.answers:
        simulated = " (simulated)" if a.simulated else ""
        table.add_row(a.label, a.model + simulated, a.returned or "·", a.family, a.location)
    for r in case.replaced:
        table.add_row("", f"{r.model} sat at {r.label} before ({r.reason.replace('_', ' ')})", style="dim")
    probability = case.row["draw_probability"]
    table.caption = (
        f"{case.row['strategy']} {case.row['n']} of {len(case.row['allowed'])} allowed, seed "
        f"{case.row['seed']}, probability {'unknown' if probability is None else f'{probability:.3g}'}"
    )
    table.caption_justify = "left"
    return table


def _calls(case: Case) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="calls", title_justify="left")
    for column in ("what", "model", "claim", "seconds", "outcome", "tokens in", "out", "USD"):
        table.add_column(column)
    for call in case.calls:
        about = "" if call["about_seat"] is None else f" of {case.label(call['about_seat'])}"
        kind = "review" if call["kind"] == "review" else "answer"
        outcome = call["outcome"] or "open"
        if call["error_kind"]:
            outcome += f" ({call['error_kind']})"
        table.add_row(
            f"{kind} by {case.label(call['seat'])}{about}",
            call["model"],
            str(call["claim"]),
            _number(call["seconds"]),
            outcome,
            "·" if call["prompt_tokens"] is None else str(call["prompt_tokens"]),
            "·" if call["completion_tokens"] is None else str(call["completion_tokens"]),
            "unknown" if call["cost_usd"] is None else f"{call['cost_usd']:.6f}",
        )
    return table
