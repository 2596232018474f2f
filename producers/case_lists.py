"""The lists of a case side by side, what each step gained, what was found, and why a person must look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from producers.case import Case
from shared.medications import is_unknown
from shared.refinement import Edit, Terms, in_words
from shared.safety.finding import WEIGHTS, Severity

COLUMNS = {
    "highest_graded": "highest graded",
    "majority": "majority",
    "screened": "screened",
    "refined": "refined",
}
TERMS = {"support": "support", "severity": "severity", "same_class": "same class", "treats": "treats"}
REASONS = {
    "no_feasible_list": "every drug that was proposed is ruled out for this patient",
    "allergy_against_majority": "the majority wants a drug to which the patient is allergic; it was removed",
    "severe_finding": "a finding of the highest severity remains",
    "fewer_than_two_recommend": "fewer than two of the seats recommend a drug",
    "answer_without_review": "an answer was reviewed by nobody",
    "low_confidence": "the confidence in this list is low",
    "low_agreement": "the seats' lists hardly agree",
}
"""Why a person must look, in plain words; what is not here is said by its code."""


def reason(code: str) -> str:
    """A rule in plain words."""
    return REASONS.get(code, code.replace("_", " "))


def lists_of(case: Case) -> dict[str, list[str]]:
    """The lists to be shown, in the order in which one comes from the other; the screened one where it
    differs from the majority."""
    row = case.row
    screened = (row["refinement"] or {}).get("screened")
    return {
        name: drugs
        for name, drugs in {**row, "screened": screened}.items()
        if name in COLUMNS and drugs is not None and (name != "screened" or drugs != row["majority"])
    }


def proposers(case: Case, drug: str) -> list[str]:
    """The labels of the seats that want this drug started."""
    return [answer.label for answer in case.answers if drug in answer.starts]


def drugs_of(case: Case) -> list[dict[str, Any]]:
    """A row a drug that anybody proposed: the refined list's first, then by support."""
    row, lists = case.row, lists_of(case)
    support: Mapping[str, float] = row["support"] or {}
    drugs = sorted(
        {drug for drugs in lists.values() for drug in drugs} | {*row["minority"]} | {*support},
        key=lambda drug: (drug not in row["refined"], -support.get(drug, 0.0), drug),
    )
    return [
        {
            "drug": drug,
            "lists": [name for name in COLUMNS if drug in lists.get(name, ())],
            "support": support.get(drug),
            "proposed_by": proposers(case, drug),
            "minority": drug in row["minority"],
            "unknown": is_unknown(drug),
        }
        for drug in drugs
    ]


def views(case: Case) -> Iterator[RenderableType]:
    """All of it, as far as there is something to say; a row from before refinement has lists alone."""
    yield _lists(case)
    if case.row["refinement"] is not None:
        yield _steps(case.row)
        yield _findings(case.row["findings"])
    if case.row["rule"]:
        yield Text(f"needs review: {reason(case.row['rule'])}", "bold yellow")


def _lists(case: Case) -> Table:
    shown = [name for name in COLUMNS if name in lists_of(case)]
    table = _table("lists", "drug", *(COLUMNS[name] for name in shown))
    table.add_column("support", justify="right")
    table.add_column("proposed by")
    table.add_column("")
    for drug in drugs_of(case):
        marks = ["minority"] * drug["minority"] + ["not a drug we know"] * drug["unknown"]
        table.add_row(
            drug["drug"],
            *("●" if name in drug["lists"] else "–" for name in shown),
            "·" if drug["support"] is None else f"{drug['support']:.2f}",
            " ".join(drug["proposed_by"]) or "–",
            ", ".join(marks),
            style="bold" if "refined" in drug["lists"] else "",
        )
    table.caption, table.caption_justify = _caption(case.row), "left"
    return table


def _caption(row: Mapping[str, Any]) -> str:
    confidence = "not known (no calibration)" if row["confidence"] is None else _number(row["confidence"])
    taken = (row["refinement"] or {}).get("problem", {}).get("current", [])
    said = [
        f"stopped: {', '.join(row['stops']) or 'none'}",
        *([f"takes already: {', '.join(taken)}"] if taken else []),
        f"confidence {confidence}",
        f"agreement {_number(row['agreement'])}",
        f"form {row['form']}, reviewers' memory number {row['memory_number']}",
        METHODS.get(row["method"], str(row["method"])),
    ]
    return " · ".join(said)


METHODS = {
    None: "not refined: the refined list is the majority's",
    "exact": "exact: every list was compared",
    "climbed": "climbed: too many drugs to compare every list",
}


def _steps(row: Mapping[str, Any]) -> Table:
    table = _table("what each step gained", "step", *TERMS.values(), "together", right=True)
    start, end = (Terms.from_json(row["refinement"][name]) for name in ("start", "utility"))
    table.add_row("majority", *_terms(start, ""))
    for edit in map(Edit.from_json, row["trace"]):
        table.add_row(in_words(edit), *_terms(edit.gain, "+"))
    table.add_row("refined", *_terms(end, ""), style="bold")
    dials = row["refinement"]["dials"]
    names = {"severity": "λ", "same_class": "ν", "treats": "κ", "grade": "γ"}
    table.caption = ", ".join(f"{names.get(name, name)} = {value:g}" for name, value in dials.items())
    table.caption_justify = "left"
    return table


def _terms(terms: Terms, sign: str) -> list[str]:
    return [_number(value, sign) for value in (*(getattr(terms, name) for name in TERMS), terms.total)]


def _findings(findings: Sequence[Mapping[str, Any]]) -> RenderableType:
    if not findings:
        return Text("findings that remain: none")
    table = _table("findings that remain", "severity", "about", "what may happen", "source")
    for one in sorted(findings, key=lambda one: -WEIGHTS[Severity(one["severity"])]):
        about = f"{one['drug']}: {one['kind'].replace('_', ' ')} with {one['other'].replace('_', ' ')}"
        effect = "; ".join(filter(None, (one["effect"], *one["modifiers"], one["advice"])))
        table.add_row(one["severity"], about, effect, one["source"])
    return table


def _table(title: str, first: str, *columns: str, right: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _number(value: float | None, sign: str = "") -> str:
    return "·" if value is None else f"{value + 0.0:{sign}.2f}".replace("-", "−")
