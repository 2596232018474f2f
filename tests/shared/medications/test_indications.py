"""Conditions from words as people and FHIR write them, what treats them, and the table itself."""

from __future__ import annotations

import csv
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import KnowledgeError
from shared.medications import ingredients
from shared.medications.indications import (
    TABLE,
    _parsed,
    _split,
    _tables,
    conditions_of,
    known_conditions,
    treats,
)


def table() -> list[tuple[str, list[str], list[str]]]:
    """Condition, names and what treats it, line by line."""
    text = resources.files("shared.medications").joinpath(TABLE).read_text(encoding="utf-8")
    rows = csv.reader(line for line in text.splitlines() if line[0] != "#")
    next(rows)
    return [(code, _split(names), _split(by)) for code, names, by in rows]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("Essential hypertension (disorder)", "hypertension"),
        ("Diabetes mellitus type 2 (disorder)", "type_2_diabetes"),
        ("Type I diabetes mellitus", "type_1_diabetes"),
        ("Chronic congestive heart failure (disorder)", "heart_failure"),
        ("Chronic intractable migraine without aura", "migraine"),
        ("migraine with aura", "migraine migraine_with_aura"),
        ("Neuropathy due to type 2 diabetes mellitus (disorder)", "neuropathic_pain type_2_diabetes"),
        ("Disorder of kidney due to diabetes mellitus (disorder)", "chronic_kidney_disease type_2_diabetes"),
        ("Body mass index 30+ - obesity (finding)", "obesity"),
        ("Acute duodenal ulcer with hemorrhage", "gi_bleeding peptic_ulcer"),
        ("acute gout; CKD stage 3b, HTN", "chronic_kidney_disease gout hypertension"),
        ("previous transient ischaemic attack", "stroke"),
        ("Alzheimer's disease", "dementia"),
        ("gastro-oesophageal reflux", "reflux_disease"),
        ("nausea and vomiting of pregnancy", "nausea_of_pregnancy"),
        ("pregnancy, 20 weeks", "pregnancy"),
        ("pulmonary hypertension", "pulmonary_hypertension"),
        ("atrial_fibrillation", "atrial_fibrillation"),
        ("not well controlled asthma", "asthma"),
        ("history of peptic ulcer", "peptic_ulcer"),
        ("Denies seizures, has heart failure", "heart_failure"),
        ("no asthma, gout treated with allopurinol", "gout"),
        ("no asthma but COPD", "copd"),
        ("asthma, no exacerbations", "asthma"),
        ("type 2 diabetes without nephropathy", "type_2_diabetes"),
        ("Full-time employment (finding)", ""),
        ("", ""),
    ],
)
def test_conditions_are_read(text: str, codes: str) -> None:
    """By their codes, the longest name first."""
    assert conditions_of([text]) == frozenset(codes.split())


@pytest.mark.parametrize(
    "text",
    [
        "no history of asthma",
        "No asthma, gout or COPD",
        "denies asthma or any heart failure",
        "not pregnant",
        "non-smoker",
        "asthma ruled out",
        "COPD: no",
        "negative for DVT",
        "family history of stroke, hypertension",
        "mother had breast cancer",
        "stroke prevention",
        "pneumonia unlikely",
        "flu vaccine",
        "ST depression",
        "no known drug allergies",
    ],
)
def test_what_is_denied_or_none_is_left_out(text: str) -> None:
    """A denial, a relative's condition, and names that only look like a condition's."""
    assert conditions_of([text]) == frozenset()


def test_what_treats_what() -> None:
    """By ingredient, classes included; each own ingredient of the table is a known code."""
    assert {"hypertension", "heart_failure", "chronic_kidney_disease"} <= treats("lisinopril")
    assert treats("metformin") == {"type_2_diabetes", "gestational_diabetes"}
    assert "asthma" in treats("albuterol")
    assert treats("no such drug") == frozenset()
    assert len(known_conditions()) >= 90
    assert frozenset().union(*_tables().treats.values()) <= known_conditions()
    own = {drug for _, _, by in table() for drug in by if not drug.startswith("@")}
    assert {drug for drug in own if ingredients(drug) != (drug,)} == set()


def test_every_code_and_name_is_read_as_its_condition() -> None:
    """No name of the table is hidden by another."""
    for code, names, _ in table():
        for name in [code, *names] if code != "-" else []:
            assert code in conditions_of([name]), name
        assert code != "-" or conditions_of(names) == frozenset()


@given(st.text(max_size=60), st.sampled_from(sorted(known_conditions())))
@settings(max_examples=100, deadline=None)
def test_any_text_is_read(text: str, code: str) -> None:
    """Whatever stands beside it in another clause, a condition is found, and its denial leaves it out."""
    assert code in conditions_of([f"{text}; {code}"])
    assert conditions_of([text]) <= known_conditions()
    assert conditions_of([f"no {code.replace('_', ' ')}"]) == frozenset()


def test_bad_lines_are_all_named() -> None:
    """Fields, codes and classes, each with its line."""
    text = "condition,names,treated_by\ngout,,\n# a remark\ngout,,\nBad Code,,\nacne,spots\nscabies,,@nothing"
    with pytest.raises(KnowledgeError) as refused:
        _parsed(text)
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "indications.csv, line 4, field condition",
        "indications.csv, line 5, field condition",
        "indications.csv, line 6",
        "indications.csv, line 7, field treated_by",
    ]
    with pytest.raises(KnowledgeError, match="line 1: the header"):
        _parsed("gout,,\n")
