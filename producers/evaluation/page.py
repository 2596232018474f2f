"""An evaluation as one self-contained HTML page: no script, no file beside it, no address outside."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from producers.evaluation.plots import svg
from producers.evaluation.reports.model import Report, Table, shown
from producers.evaluation.spec import Meta

SIMULATED = {
    True: (
        "simulated models",
        "The models that answered are simulated. This is no evidence about real ones.",
    ),
    False: ("real models", "The models that answered are not simulated; the vignettes are no real patients."),
    None: ("nothing answered", "No model answered anything."),
}


def write(path: Path, reports: Sequence[Report], meta: Meta, command: str | None = None) -> None:
    """Write the page. All text is escaped; `command` repeats the evaluation (None: the one that runs now)."""
    given = command or shlex.join(["consilium", *sys.argv[1:]])
    path.write_text(page(reports, meta, given), encoding="utf-8")


def page(reports: Sequence[Report], meta: Meta, command: str) -> str:
    """The page's text."""
    template = Template(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    badge, said = SIMULATED[meta.simulated]
    return template.substitute(
        badge=badge,
        badge_class="sim" if meta.simulated else "real",
        said=said,
        headline=escape(reports[0].sentences[0]) if reports else "",
        asked="\n".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in asked(meta)),
        counts=escape(counts(meta)),
        contents="".join(f'<li><a href="#{r.name}">{escape(r.title)}</a></li>' for r in reports),
        reports="\n".join(map(_report, reports)),
        command=escape(command),
    )


def asked(meta: Meta) -> list[tuple[str, str]]:
    """What was asked, and what was frozen before, in words."""
    training = f"{meta.trained_on:,} consultations" + (f", {meta.training}" if meta.training else "")
    return [
        ("evaluation", meta.evaluation),
        ("vignettes", f"{meta.vignettes}, each with gold"),
        ("arms", f"{len(meta.arms)}: {', '.join(meta.arms)}"),
        ("repeats of each vignette", str(meta.repeats)),
        ("seed", str(meta.seed)),
        ("history made before", training if meta.trained_on else "none for this: what the site had in force"),
        ("frozen before it began", ", ".join(_snapshot(*one) for one in meta.snapshots.items()) or "nothing"),
        (
            "overlap of what chose with these vignettes",
            f"{meta.overlap}" + ("" if meta.overlap == 0 else ": LEAKAGE, do not trust what follows"),
        ),
    ]


def counts(meta: Meta) -> str:
    """Consultations that add up: vignettes × arms × repeats, accepted, ended, lost, paid twice."""
    due = meta.vignettes * len(meta.arms) * meta.repeats
    whole = "" if meta.accepted == due else f" of {due:,} due: the evaluation is not whole"
    return (
        f"{meta.vignettes} vignettes × {len(meta.arms)} arms × {meta.repeats} repeats = {due:,} "
        f"consultations; accepted {meta.accepted:,}{whole}; ended {meta.ended:,}; lost {meta.lost:,}; "
        f"calls {meta.calls:,}; paid twice {meta.paid_twice:,}; overlap {meta.overlap:,}."
    )


def _snapshot(kind: str, number: int | None) -> str:
    return f"{kind}: {'none' if number is None else f'number {number}'}"


def _report(report: Report) -> str:
    findings = "".join(f"<li>{escape(sentence)}</li>" for sentence in report.sentences)
    drawings = "".join(map(svg, report.plots))
    tables = "".join(map(_table, report.tables))
    return (
        f'<section id="{report.name}"><h2>{escape(report.title)}</h2><ul class="findings">{findings}</ul>'
        f"{drawings}{tables}</section>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column.head)}</th>" for column in table.columns)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_class(text)}>{escape(text)}</td>"
            for text in (shown(cell, column) for cell, column in zip(row, table.columns, strict=True))
        )
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<h3>{escape(table.title)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def _class(text: str) -> str:
    """Findings that name a direction stand out; the others do not."""
    return ' class="told"' if text in ("higher", "lower") else ""
