"""A case for a person: lists side by side, what each step gained, what remains, why somebody must look."""

from __future__ import annotations

import io
import uuid
from dataclasses import asdict
from typing import Any

import pytest
from rich.console import Console

from producers.case import Answer, Case
from producers.case_lists import drugs_of, lists_of, reason
from producers.case_view import case_view
from shared.refinement import Dials, Problem, refine
from shared.safety.finding import Finding, Severity

WARFARIN = Finding(
    "interaction", "ibuprofen", "warfarin", Severity.major, "major bleeding", "", "FDA label", "w1"
)
CLASS = Finding("duplicate", "ibuprofen", "naproxen", Severity.moderate, "two NSAIDs", "", "own", "d1")
MINOR = Finding(
    "interaction", "acetaminophen", "warfarin", Severity.minor, "higher INR", "", "FDA label", "w2"
)
UNKNOWN = "unknown:0123456789ab"
ANSWERS = (
    ("acetaminophen", "ibuprofen"),
    ("acetaminophen", "ibuprofen", UNKNOWN),
    ("acetaminophen", "naproxen"),
)


def answer(seat: int, drugs: tuple[str, ...]) -> Answer:
    """One seat's."""
    return Answer(
        "ABC"[seat], seat, f"sim-{seat}", None, "sim", "local", True, "answered", None, None, drugs, []
    )


def case(**changed: Any) -> Case:
    """Ibuprofen has a majority and leaves: the patient takes warfarin."""
    named = sorted({drug for drugs in ANSWERS for drug in drugs})
    problem = Problem(tuple(named), ("warfarin",), (WARFARIN, CLASS, MINOR))
    support = {"acetaminophen": 0.86, "ibuprofen": 0.65, "naproxen": 0.3, UNKNOWN: 0.31}
    dials = Dials()
    refined = refine(problem, support, ("acetaminophen", "ibuprofen"), {}, dials)
    row: dict[str, Any] = {
        "id": uuid.UUID(int=1),
        "record_id": uuid.UUID(int=2),
        "submission_id": uuid.UUID(int=3),
        "kind": "medication/general",
        "state": "needs_review",
        "stage": "ended",
        "rule": "severe_finding",
        "reason": "severe_finding",
        "highest_graded": ["acetaminophen", "naproxen"],
        "majority": ["acetaminophen", "ibuprofen"],
        "refined": list(refined.drugs),
        "minority": sorted({"naproxen", UNKNOWN}),
        "stops": ["omeprazole"],
        "support": support,
        "confidence": None,
        "agreement": 0.5,
        "form": "memory",
        "memory_number": 3,
        "method": refined.method,
        "findings": [asdict(MINOR)],
        "trace": [edit.to_json() for edit in refined.edits],
        "refinement": {
            "problem": problem.to_json(),
            "dials": {**dials.to_json(), "grade": 1.0},
            "start": refined.start.to_json(),
            "utility": refined.utility.to_json(),
            "screened": ["acetaminophen", "ibuprofen"],
        },
        "detail": {"answers": {}, "reviewers": {}},
        **changed,
    }
    return Case(row, None, [answer(seat, drugs) for seat, drugs in enumerate(ANSWERS)], [], {}, {}, [])


BEFORE = {"method": None, "findings": [], "trace": [], "refinement": None, "refined": ["acetaminophen"]}
"""A row stored before lists were refined."""


def printed(one: Case) -> str:
    """As on a terminal of 120 columns."""
    said = io.StringIO()
    Console(file=said, width=120).print(case_view(one, reveal=False, calls=False))
    return said.getvalue()


def line(text: str, start: str) -> list[str]:
    """The first line that begins with this, in words."""
    return next(each for each in text.splitlines() if each.startswith(start)).split()


def test_lists_stand_side_by_side_a_row_a_drug() -> None:
    """Who is on which list, support, who proposed it; minority and unknown drugs are marked."""
    text = printed(case())
    assert line(text, "drug")[:5] == ["drug", "highest", "graded", "majority", "refined"]
    assert line(text, "acetaminophen")[1:] == ["●", "●", "●", "0.86", "A", "B", "C"]
    assert line(text, "ibuprofen ")[1:] == ["–", "●", "–", "0.65", "A", "B"]
    assert line(text, "naproxen")[1:] == ["●", "–", "–", "0.30", "C", "minority"]
    assert line(text, UNKNOWN)[-6:] == ["minority,", "not", "a", "drug", "we", "know"]
    assert "takes already: warfarin" in text
    assert "stopped: omeprazole" in text
    assert max(map(len, text.splitlines())) <= 120


def test_each_step_shows_what_it_gained_and_sums_up() -> None:
    """The trace in words; the majority's utility and all gains are the refined list's, term by term."""
    one = case()
    text = printed(one)
    assert "ibuprofen removed: with warfarin, major bleeding (FDA label)" in " ".join(text.split())
    assert line(text, "ibuprofen removed")[-5:] == ["−0.15", "+0.60", "+0.00", "+0.00", "+0.45"]
    start, end = one.row["refinement"]["start"], one.row["refinement"]["utility"]
    gained = {term: sum(edit["gain"][term] for edit in one.row["trace"]) for term in start}
    assert {term: start[term] + gained[term] for term in start} == pytest.approx(end)
    assert line(text, "refined ") == ["refined", "0.36", "−0.05", "0.00", "0.00", "0.31"]


def test_what_remains_and_why_somebody_must_look() -> None:
    """Severity, effect and source of each finding; the reason in a sentence; an unknown code as it is."""
    text = printed(case())
    said = "minor acetaminophen: interaction with warfarin higher INR FDA label"
    assert " ".join(line(text, "minor")) == said
    assert "needs review: a finding of the highest severity remains" in text
    assert "findings that remain: none" in printed(case(findings=[]))
    assert "needs review:" not in printed(case(rule=None))
    assert reason("brand_new_rule") == "brand new rule"


def test_the_screened_majority_is_a_column_only_where_it_differs() -> None:
    """An allergy took a drug of the majority away."""
    assert "screened" not in lists_of(case())
    other = case()
    other.row["refinement"]["screened"] = ["acetaminophen"]
    assert line(printed(other), "drug")[:6] == [
        "drug",
        "highest",
        "graded",
        "majority",
        "screened",
        "refined",
    ]
    assert line(printed(other), "ibuprofen ")[1:5] == ["–", "●", "–", "–"]


def test_a_row_from_before_refinement_still_shows() -> None:
    """Lists and numbers, and that it was not refined; no steps and no findings are claimed."""
    text = printed(case(**BEFORE))
    assert "not refined: the refined list is the majority's" in " ".join(text.split())
    assert "what each step gained" not in text
    assert "findings that remain" not in text
    assert line(text, "acetaminophen")[1:4] == ["●", "●", "●"]


def test_programs_get_a_row_a_drug_too() -> None:
    """The same facts as the table's."""
    by_name = {drug["drug"]: drug for drug in drugs_of(case())}
    assert next(iter(by_name)) == "acetaminophen"
    assert by_name["naproxen"] == {
        "drug": "naproxen",
        "lists": ["highest_graded"],
        "support": 0.3,
        "proposed_by": ["C"],
        "minority": True,
        "unknown": False,
    }
    assert by_name[UNKNOWN]["unknown"]
