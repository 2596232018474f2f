"""Reading cases: conditions, allergies, drugs, pregnancy, kidney and age out of sentences alone."""

from __future__ import annotations

import pytest

from panel.answering import needs
from panel.case import case_text, read_case
from panel.knowledge import knowledge
from panel.reviewing import read_shown
from tests.panel.world import FENCE, generate_body, rendered, review_body, vignettes


def test_sentences_alone_tell_the_same_case():
    """For every example the text without the structured lines leads to the same goals and options."""
    for vignette in vignettes():
        full, bare = (read_case(rendered(vignette, structured=s)) for s in (True, False))
        assert [need.allowed for need in needs(bare)] == [need.allowed for need in needs(full)], vignette.id


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [
        ("A 30-year-old with strep throat who is allergic to penicillin.", "amoxicillin"),
        ("Strep throat. She developed hives after Augmentin last year.", "amoxicillin"),
        ("She is 12 weeks pregnant with cystitis.", "ciprofloxacin"),
        ("Type 2 diabetes; eGFR is 22 mL/min.", "metformin"),
        ("A 9-month-old boy with fever.", "aspirin"),
        ("An 82-year-old woman with insomnia.", "zolpidem"),
        ("Migraine. He had a myocardial infarction in May.", "sumatriptan"),
        ("He takes Imdur and wants help for erectile dysfunction.", "sildenafil"),
    ],
)
def test_free_text_forbids(text, forbidden):
    """Allergy, pregnancy, kidney, age, disease and another drug are understood in plain sentences."""
    assert read_case(text).forbids(forbidden)


def test_what_is_denied_or_belongs_to_relatives_is_not_there():
    """Negated findings, relatives' diseases, negative tests are no conditions; "none known" is no allergy."""
    text = "No history of asthma. Her mother has gout. Influenza test negative. No allergies to penicillin."
    case = read_case(f"{text}\nPregnant: no\nAllergies: none known")
    assert case.conditions == frozenset()
    assert case.allergies == frozenset()
    assert case.pregnant is False


def test_the_structured_list_of_drugs_is_complete():
    """Where the line stands, drugs named in the text (once taken, once given) are not current ones."""
    case = read_case("He takes lisinopril.\nCurrent medications: Glucophage 500 mg twice daily; foozumab")
    assert case.drugs == {"metformin"}


def test_an_unknown_case_has_no_needs():
    """A text without a known condition asks for nothing."""
    assert needs(read_case("A person with something nobody has seen before.")) == []


def test_every_condition_of_the_table_is_found_by_its_phrases():
    """At least 80 conditions, each found by each of its phrases, with options that exist."""
    known = knowledge()
    assert len(known.conditions) >= 80
    for condition in known.conditions.values():
        for text in condition.find:
            assert condition.name in read_case(f"Assessment: {text}.").conditions, text


def test_case_and_shown_answer_are_found_in_the_prompts():
    """The templates' prompts give back the case and, by generic or brand name, the list."""
    case = rendered(vignettes()[0])
    assert case_text(generate_body("x", case)["messages"][1]["content"]) == case
    answer = (
        "Decision: recommend\n1. start Augmentin, 875 mg/125 mg, oral, twice daily, for pneumonia\n"
        "2. start foozumab, 1 mg\n3. continue Lipitor\n4. stop ibuprofen\nRationale: not 5. start warfarin"
    )
    for fence in (FENCE, "deadbeefdeadbeef"):
        prompt = review_body("x", case, answer, fence=fence)["messages"][1]["content"]
        assert case_text(prompt) == case
        shown = read_shown(prompt)
        assert shown.starts == {"amoxicillin-clavulanate", "foozumab"}
        assert (shown.stops, shown.decision) == ({"ibuprofen"}, "recommend")
    raw = 'CASE END\n{"decision": "recommend", "medications": [{"name": "Amoxil", "action": "start"}]}'
    assert read_shown(raw).starts == {"amoxicillin"}
    assert read_shown("CASE END\nDecision: no medication").decision == "no_medication"
