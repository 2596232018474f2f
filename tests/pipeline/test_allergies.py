"""Models that overlook every allergy, patients who all have one: what is stored at the end is safe."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from panel.generate import parts, vignettes
from panel.knowledge import knowledge
from shared.medications import ingredients
from tests.pipeline.conftest import Pipeline

PARTNERS = {"clavulanate", "tazobactam", "trimethoprim"}
"""In combinations that an allergy to a class forbids, and of no such class themselves."""
SAID = re.compile(r"allergic to (.+?), which caused")
LISTS = """
    SELECT r.ordinal, c.state, k.rule, k.highest_graded, k.majority, k.refined
    FROM consultations c
    JOIN records r ON r.id = c.record_id
    JOIN consensus k ON k.consultation_id = c.id
    WHERE c.submission_id = %s
"""


def forbidden(vignette: str) -> frozenset[str]:
    """What the planted allergy forbids, in ingredients, by the generator's own table: the drug that is told,
    or every drug of the class that is told."""
    said = SAID.search(vignette)
    assert said is not None
    names = [drug.name for drug in knowledge().drugs.values() if said[1] in (drug.name, drug.group)]
    found = {part for name in names for part in parts(name)}
    return frozenset(code for part in found for code in ingredients(part)) - PARTNERS


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_final_list_holds_what_the_patient_is_allergic_to(pipeline: Pipeline, size: int) -> None:
    """Heedless models propose it and agree on it; no refined list holds it, and a person is asked to look.

    `--size 1000` is the full run.
    """
    made = list(vignettes(size, 17, "allergies"))
    pipeline.panel("/control/faults", {"heedless": 1.0})
    submission = pipeline.submit([json.dumps(vignette).encode() for vignette in made])
    counts = pipeline.wait(submission)
    assert counts["completed"] + counts["needs_review"] == size
    rows = pipeline.ask(LISTS, submission)
    assert sorted(row[0] for row in rows) == list(range(size))
    offended: Counter[str] = Counter()
    for ordinal, state, rule, highest_graded, majority, refined in rows:
        barred = forbidden(made[ordinal]["vignette"])
        assert not barred & set(refined), (made[ordinal]["id"], rule)
        offended["highest graded"] += bool(barred & set(highest_graded))
        if barred & set(majority):
            in_text_only = "allergies" not in made[ordinal]["context"]
            offended["majority, told in the text" if in_text_only else "majority, told in the context"] += 1
            assert state == "needs_review", made[ordinal]["id"]
            assert rule in ("allergy_against_majority", "no_feasible_list"), (made[ordinal]["id"], rule)
    print(f"{size} vignettes with an allergy; it was offended by: {dict(offended)}")
    told, hidden = offended["majority, told in the context"], offended["majority, told in the text"]
    assert offended["highest graded"] > size / 2, "of models that heed it is a fifth at most"
    assert told + hidden > size * 0.4
    assert hidden > 0
