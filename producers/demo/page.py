"""The story as one self-contained HTML page: no script, no file beside it, no address outside."""

from __future__ import annotations

from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from producers.case import Case
from producers.case_view import said, state_of
from producers.demo.score import Scored
from producers.demo.told import Told


def write_page(path: Path, told: Told) -> None:
    """Write the page. Everything that came from a record or a model is escaped."""
    template = Template(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    featured = told.featured.case
    page = template.substitute(
        summary=escape(told.summary()),
        killed=escape(told.killed or "none"),
        seconds=f"{told.seconds:.0f}",
        vignette=escape(featured.vignette.vignette if featured.vignette else "(erased)"),
        featured=escape(told.featured.name),
        answers=_answers(featured),
        grades=_grades(featured),
        names=_names(featured),
        lists=_lists(featured),
        state=escape(state_of(featured)),
        rows="\n".join(_row(one) for one in told.scored),
        better=told.verdicts.count("better"),
        equal=told.verdicts.count("equal"),
        worse=told.verdicts.count("worse"),
        right=told.right,
        cases=len(told.scored),
        calls=told.calls["calls"],
        lost=told.calls["lost"],
        failed=told.calls["failed"],
        cost="unknown" if told.calls["cost_usd"] is None else f"{told.calls['cost_usd']:.4f} USD",
        unpriced=told.calls["unpriced"],
    )
    path.write_text(page, encoding="utf-8")


def _cells(*texts: str, tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(t)}</{tag}>" for t in texts) + "</tr>"


def _answers(case: Case) -> str:
    return "\n".join(_cells(a.label, said(a)) for a in case.answers)


def _names(case: Case) -> str:
    return "\n".join(_cells(a.label, f"{a.model} (simulated)", a.family, a.location) for a in case.answers)


def _lists(case: Case) -> str:
    return "\n".join(
        _cells(name.replace("_", " "), ", ".join(case.row[name] or []) or "no medication")
        for name in ("highest_graded", "majority", "refined")
    )


def _grades(case: Case) -> str:
    """The matrix, each grade shaded by its height."""
    head = _cells("reviewer", *(f"of {a.label}" for a in case.answers), "reliability", tag="th")
    detail = case.row["detail"] or {"answers": {}, "reviewers": {}}
    rows = [head]
    for reviewer in case.answers:
        cells = "".join(
            "<td>–</td>" if author.seat == reviewer.seat else _shaded(case, reviewer.seat, author.seat)
            for author in case.answers
        )
        reliability = detail["reviewers"].get(str(reviewer.seat), {}).get("reliability")
        rows.append(f"<tr><td>{reviewer.label}</td>{cells}<td>{_number(reliability)}</td></tr>")
    consensus = "".join(
        f"<td><b>{_number(detail['answers'].get(str(a.seat), {}).get('grade'))}</b></td>"
        for a in case.answers
    )
    rows.append(f"<tr><td><b>consensus</b></td>{consensus}<td></td></tr>")
    return "\n".join(rows)


def _shaded(case: Case, reviewer: int, author: int) -> str:
    grade = case.grades.get((reviewer, author))
    if grade is None:
        return "<td>·</td>"
    return f'<td style="background:hsl(150 45% 45% / {grade * 0.7:.2f})">{grade:.2f}</td>'


def _number(value: float | None) -> str:
    return "·" if value is None else f"{value:.2f}"


def _row(one: Scored) -> str:
    verdict = one.against_best_member
    cells = [
        one.name,
        one.state.replace("_", " ") + (f": {one.reason.replace('_', ' ')}" if one.reason else ""),
        "·" if one.council is None else ", ".join(one.council) or "no medication",
        {True: "yes", False: "no", None: "·"}[one.council_right],
        _number(one.council_f1),
        f"{one.members_right} of {one.members}",
        one.best_member,
        _number(one.best_member_f1),
    ]
    shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr>{shown}<td class="{verdict.replace(" ", "-")}">{verdict}</td></tr>'
