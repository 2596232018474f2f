"""From a patient and proposals to the problem that refinement solves."""

from __future__ import annotations

import json

from shared.medications import normalise
from shared.refinement import Problem
from shared.refinement.build import build
from shared.safety.patient import Patient
from shared.safety.rules import builtin

PATIENT = Patient(
    allergies=frozenset({"penicillin"}),
    current=("warfarin",),
    conditions=frozenset({"atrial_fibrillation"}),
)


def test_a_problem_holds_what_is_known() -> None:
    """Candidates in order, findings of them and of the current drugs, conditions that are the patient's."""
    problem = build(["metoprolol", "ibuprofen", "amoxicillin", "ibuprofen"], PATIENT, builtin())
    assert problem.candidates == ("amoxicillin", "ibuprofen", "metoprolol")
    assert problem.current == ("warfarin",)
    assert problem.barred == {"amoxicillin"}
    assert problem.severities["ibuprofen", "warfarin"] == 0.6
    assert problem.treats["metoprolol"] == ("atrial_fibrillation",)
    assert "ibuprofen" not in problem.treats
    assert problem.knowledge == builtin().digest
    assert Problem.from_json(json.loads(json.dumps(problem.to_json()))) == problem


def test_what_is_stopped_is_not_current() -> None:
    """A stopped drug neither meets a candidate nor treats a condition."""
    problem = build(["ibuprofen"], PATIENT, builtin(), stopped=["warfarin"])
    assert problem.current == ()
    assert problem.severities == {}
    assert "warfarin" not in problem.treats


def test_routes_matter() -> None:
    """A topical order is lesser than one of unknown route."""
    orders = {"diclofenac": [normalise("diclofenac 1 % topical gel")]}
    plain, topical = (build(["diclofenac"], PATIENT, builtin(), orders=o) for o in (None, orders))
    pair = ("diclofenac", "warfarin")
    assert topical.severities[pair] < plain.severities[pair]
