"""Models that overlook allergies and what is taken, and patients for whom that matters."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import islice

import pytest

from panel.answering import believe, needs
from panel.case import Case, read_case
from panel.faults import Faults
from panel.generate import vignettes
from panel.models import MODELS
from panel.server import Panel, make_reply
from shared.schemas import Vignette
from tests.panel.world import ROOT, generate_body, rendered, review_body, shown

COUNT = 120
DEFAULT = "5a658e31"
MODEL = MODELS["sim-alder-large"]


@cache
def made(always: str) -> tuple[Vignette, ...]:
    """Vignettes in each of which that forbids what comes to mind first, read as the product reads them."""
    command = [sys.executable, "-m", "panel.generate", "--count", str(COUNT), "--seed", "2", f"--{always}"]
    lines = subprocess.run([*command, "always"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(Vignette.model_validate_json(line) for line in lines.splitlines())


def harmed(cases: list[Case], heeds: bool) -> int:
    """Patients to whom the model would start something that is forbidden there."""
    seen = [(case, believe(MODEL, replace(case, heeds=heeds), 1)) for case in cases]
    return sum(any(case.forbids(drug) for drug, _ in belief.starts) for case, belief in seen)


@pytest.mark.parametrize("always", ["allergies", "interactions"])
def test_what_is_always_planted_forbids_a_first_choice(always: str) -> None:
    """In each patient, told so that the panel reads it, another choice left; same seed, same vignettes."""
    again = islice(vignettes(COUNT, 2, always), 30)  # type: ignore[arg-type]
    assert [v["vignette"] for v in again] == [v.vignette for v in made(always)[:30]]
    assert len({v.vignette for v in made(always)}) == COUNT
    for vignette in made(always):
        case = read_case(rendered(vignette))
        assert any(need.is_trap for need in needs(case)), vignette.id
        assert all(need.allowed for need in needs(case)), vignette.id
        assert bool(case.allergies) == (always == "allergies"), vignette.id
        assert case.drugs or always == "allergies", vignette.id


def test_some_allergies_stand_in_the_text_alone() -> None:
    """The context of about a quarter says nothing of allergies; it never denies one."""
    silent = sum(not v.context.allergies for v in made("allergies"))
    assert COUNT * 0.15 < silent < COUNT * 0.35
    assert not [v.id for v in made("allergies") if "none known" in v.context.allergies]


def test_the_default_has_stayed_as_it_is() -> None:
    """The first 200 vignettes of seed 1, byte for byte: evaluations and histories rest on them."""
    lines = "\n".join(json.dumps(v, ensure_ascii=False) for v in vignettes(200, 1))
    assert hashlib.sha256(lines.encode()).hexdigest()[:8] == DEFAULT


@pytest.mark.parametrize("always", ["allergies", "interactions"])
def test_the_heedless_propose_what_the_others_do_not(always: str) -> None:
    """The same model with the same memory harms most of these patients when it does not look."""
    cases = [read_case(rendered(v)) for v in made(always)]
    assert harmed(cases, heeds=True) < COUNT / 4
    assert harmed(cases, heeds=False) > COUNT / 2


def test_the_share_of_the_heedless_is_an_option() -> None:
    """By a rate for all or for one model, in answers and in grades; without it nothing changes."""
    vignette = made("allergies")[0]
    case = read_case(rendered(vignette))
    careless = believe(MODEL, replace(case, heeds=False), 0)
    answer, review = (
        generate_body(MODEL.name, rendered(vignette)),
        review_body(MODEL.name, rendered(vignette), shown(careless)),
    )

    def told(faults: Faults, body: dict[str, object]) -> dict[str, object]:
        return make_reply(Panel(faults=faults), MODEL, body, 1).answer

    off, on = Faults.read("off"), Faults({"heedless": 1.0})
    assert told(off, answer) == told(Faults({}, {"sim-alder-small": {"heedless": 1.0}}), answer)
    assert told(on, answer) == told(Faults({}, {MODEL.name: {"heedless": 1.0}}), answer)
    assert told(off, answer) != told(on, answer)
    low, high = told(off, review)["grade"], told(on, review)["grade"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert low < 0.3 < 0.6 < high


def test_both_at_once_are_refused() -> None:
    """One patient has one trap."""
    words = ["--count", "2", "--allergies", "always", "--interactions", "always"]
    run = subprocess.run(
        [sys.executable, "-m", "panel.generate", *words], cwd=ROOT, capture_output=True, check=False
    )
    assert run.returncode == 2
    assert b"not allowed with" in run.stderr
