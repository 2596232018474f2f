"""Generated vignettes: seeded, varied, readable, and with gold that agrees with the panel's knowledge."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from panel.answering import believe, is_blind, needs
from panel.case import Case, read_case
from panel.knowledge import knowledge
from panel.models import MODELS
from shared.measures import in_codes, right
from shared.medications import ingredients
from shared.medications.table import is_unknown
from shared.schemas import KINDS, Gold, Vignette
from tests.panel.world import ROOT, rendered

COUNT = 300


@cache
def lines(count: int = COUNT, seed: int = 1) -> tuple[str, ...]:
    """What the command prints."""
    command = [sys.executable, "-m", "panel.generate", "--count", str(count), "--seed", str(seed)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(made.stdout.splitlines())


@cache
def made() -> tuple[Vignette, ...]:
    """The same, read as the product reads them."""
    return tuple(Vignette.model_validate_json(line) for line in lines())


def believed(case: Case, skill: float) -> set[str]:
    """The ingredients that a model of this skill, which sees every trap, would start."""
    model = replace(MODELS["sim-alder-large"], skill=skill, caution=1.0, strong=frozenset(), weak=frozenset())
    return {code for name, _ in believe(model, case, seed=3).starts for code in ingredients(name)}


def test_same_seed_same_bytes_and_a_larger_count_only_adds() -> None:
    """Deterministic; another seed gives other texts."""
    assert lines(20, 1) == lines()[:20]
    other = {json.loads(line)["vignette"] for line in lines(40, 2)}
    assert not other & {v.vignette for v in made()}


def test_texts_are_distinct_ids_named_simulated_and_kinds_of_the_closed_list() -> None:
    """Nothing stands twice; all is varied; no example is among them."""
    assert len({v.vignette for v in made()}) == len({v.id for v in made()}) == COUNT
    assert all(re.fullmatch(r"sim-1-\d{4}", v.id) for v in made())
    assert len({v.kind for v in made()} & set(KINDS)) >= 15
    assert {v.context.sex for v in made()} == {"female", "male"}
    assert sum(bool(v.context.medications) for v in made()) > COUNT / 4
    assert sum(bool(v.context.pregnant) for v in made()) > 5
    assert sum(v.context.allergies != ["none known"] for v in made()) > COUNT / 10
    assert sum((v.context.egfr or 99) < 60 for v in made()) > 5
    assert max(Counter(tuple(v.context.conditions[:1]) for v in made()).values()) < COUNT / 20


@pytest.mark.parametrize("structured", [True, False])
def test_the_panel_reads_back_what_was_drawn(structured: bool) -> None:
    """Condition, allergies, medications, pregnancy, kidneys and age, from the sentences alone as well."""
    for vignette in made():
        case = read_case(rendered(vignette, structured=structured))
        context = vignette.context
        (problem,) = case.problems()
        assert f"medication/{problem.specialty}" == vignette.kind, vignette.id
        assert context.conditions[0] == problem.find[0], vignette.id
        assert case.drugs == {m.name for m in context.medications}, vignette.id
        assert bool(case.allergies) == (context.allergies != ["none known"]), vignette.id
        assert bool(case.pregnant) == bool(context.pregnant), vignette.id
        assert (case.egfr, case.age) == (context.egfr, context.age), vignette.id


def test_gold_agrees_with_the_panels_knowledge() -> None:
    """Any option that is not forbidden, with all harmless additions, is right by the gold."""
    for vignette in made():
        assert vignette.gold is not None
        case, gold = read_case(rendered(vignette)), in_codes(vignette.gold, b"key")
        extras = [d for c in case.problems() for d in c.extras if not case.forbids(d)]
        for at in (0, -1):
            given = {code for d in [need.allowed[at] for need in needs(case)] for code in ingredients(d)}
            assert right(given, gold), vignette.id
            assert right(given | {code for d in extras for code in ingredients(d)}, gold), vignette.id
        for drug in (d for c in case.problems() for goal in c.goals for d in goal if case.forbids(d)):
            assert set(ingredients(drug)) & {*gold.never, *(m.name for m in vignette.context.medications)}
        for item in vignette.gold.required:
            assert not [d for d in item.any_of if d in knowledge().drugs and case.forbids(d)], vignette.id


def test_gold_tells_knowing_from_not_knowing() -> None:
    """Nearly perfect recall outside of blind spots is right nearly everywhere; without any it is wrong."""
    pairs = [(read_case(rendered(v)), in_codes(v.gold or Gold(), b"key")) for v in made()]
    seen = [(c, gold) for c, gold in pairs if not is_blind(MODELS["sim-alder-large"], c.problems()[0])]
    assert sum(right(believed(case, 0.98), gold) for case, gold in seen) / len(seen) > 0.95
    assert sum(right(believed(case, -1.0), gold) for case, gold in pairs) / COUNT < 0.03


def test_gold_is_consistent() -> None:
    """Nothing is both wanted and forbidden, what is taken is not required, required names are known."""
    for vignette in made():
        gold = vignette.gold
        assert gold is not None
        options = {name for item in gold.required for name in item.any_of}
        assert not (options | set(gold.acceptable)) & set(gold.never)
        assert gold.required or gold.never
        assert not [n for n in options if is_unknown(ingredients(n)[0]) or len(ingredients(n)) > 1]
        assert not options & {code for m in vignette.context.medications for code in ingredients(m.name)}


def test_traps_are_among_them() -> None:
    """In a good share the drug that comes to mind first is forbidden here."""
    traps = [
        v
        for v in made()
        for c in read_case(rendered(v)).problems()
        if any(read_case(rendered(v)).forbids(goal[0]) for goal in c.goals)
    ]
    assert COUNT * 0.25 < len(traps) < COUNT * 0.7
