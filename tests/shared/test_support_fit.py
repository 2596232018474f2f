"""What support learns from labelled decisions: shares, γ, and a form that must help on unseen vignettes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from shared.calibration import set_of
from shared.support import LEAST_LABELLED, Evidence, Shares, log_odds, support
from shared.support_fit import Decision, SeatVote, learn

KIND = "medication/general"


def simulated(
    vignettes: int, *, seed: int = 0, gamma: float = 0.0, indication: float = 0.0, kind: str = KIND
) -> list[Decision]:
    """Three drugs a vignette, three seats; P(belongs) as support says it, with a true γ and a weight of the
    indication in logits."""
    draw = random.Random(seed)
    found = []
    for vignette in range(vignettes):
        for drug in "abc":
            named = [draw.random() < 0.6 for _ in range(3)]
            named[draw.randrange(3)] = True
            grades = [draw.random() for _ in range(3)]
            mean = math.fsum(grades) / 3
            logit = math.fsum(
                0.6 + gamma * (g - mean) if n else -0.6 for n, g in zip(named, grades, strict=True)
            )
            indicated = draw.random() < 0.5
            logit += indication if indicated else -indication
            found.append(
                Decision(
                    vignette=f"{kind} {vignette}",
                    kind=kind,
                    drug=drug,
                    seats=tuple(
                        SeatVote(f"m{k}", n, g) for k, (n, g) in enumerate(zip(named, grades, strict=True))
                    ),
                    belongs=draw.random() < 1 / (1 + math.exp(-logit)),
                    evidence=Evidence(indicated, 0.0, 0.0, 0),
                )
            )
    return found


def held_out(decisions: Sequence[Decision]) -> set[str]:
    """The vignettes that are tested."""
    return {d.vignette for d in decisions if set_of(d.vignette) == "test"}


def test_shares_are_counted_by_hand() -> None:
    """Right and named drugs by kind and model; a drug that a seat did not name tells nothing of it."""
    yes, no = (SeatVote("a", True, 0.7), SeatVote("b", False, None)), (SeatVote("a", True, 0.2),)
    found = learn(
        [
            Decision("v", KIND, "x", yes, True),
            Decision("v", KIND, "y", yes, False),
            Decision("w", "medication/urology", "x", (*no, SeatVote("b", True, 0.9)), True),
        ]
    )
    assert found.models == {KIND: {"a": (1, 2)}, "medication/urology": {"a": (1, 1), "b": (1, 1)}}
    assert found.decisions == {KIND: 2, "medication/urology": 1}
    assert (found.forms, found.gamma, found.gamma_or(3.5)) == ({}, None, 3.5)
    assert learn([]) == Shares()


def test_order_has_no_influence_and_json_gives_it_back() -> None:
    """The same decisions in any order are the same snapshot, to the last bit."""
    decisions = simulated(150, indication=1.0)
    shuffled = random.Random(1).sample(decisions, len(decisions))
    found = learn(decisions)
    assert repr(found) == repr(learn(shuffled))
    assert Shares.from_json(found.to_json()) == found
    assert Shares.from_json({}) == Shares()


def test_a_gamma_that_helps_is_found() -> None:
    """Drawn with γ = 8, against 0 in force: fitted near it, kept on vignettes it has not seen."""
    decisions = simulated(900, gamma=8.0)
    found = learn(decisions, gamma=0.0).gamma
    assert found is not None
    assert found.test.why_not is None
    assert 5 < found.value < 11
    assert found.test.vignettes == len(held_out(decisions))
    assert found.test.brier < found.test.brier_before


def test_a_gamma_that_does_not_help_is_not_used() -> None:
    """Grades that tell nothing: what is in force stays where it is 0 already, and the snapshot says why."""
    found = learn(simulated(300), gamma=0.0)
    assert found.gamma is not None
    assert found.gamma.test.why_not == "Brier score not below that of what holds without it"
    assert found.gamma_or(0.0) == 0.0


def test_a_form_that_helps_is_used() -> None:
    """Where the indication tells much, the kind gets its own form, and support follows the indication."""
    decisions = simulated(900, indication=2.0)
    shares = learn(decisions, gamma=0.0)
    form = shares.forms[KIND]
    assert form.test.why_not is None
    assert form.test.vignettes == len(held_out(decisions))
    assert form.test.error <= form.test.noise
    told = {drug: Evidence(drug == "good", 0.0, 0.0, 0) for drug in ("good", "bad")}
    named = {0: frozenset(told), 1: frozenset(told), 2: frozenset()}
    found = support(named, dict.fromkeys(named, "m0"), {}, shares, kind=KIND, gamma=0.0, evidence=told)
    assert found["good"] > 0.8 > 0.5 > found["bad"]


def test_a_form_that_does_not_help_stays_aside() -> None:
    """Drawn from the first form itself: there is nothing to gain, and the reason is told."""
    shares = learn(simulated(300), gamma=0.0)
    assert "Brier score not below that of what holds without it" in str(shares.forms[KIND].test.why_not)


def test_repeats_of_a_vignette_tell_nothing_more() -> None:
    """Each decision eight times over: the calibration error's noise does not shrink with them."""
    decisions = simulated(900, indication=2.0)
    once, often = (learn(part, gamma=0.0).forms[KIND].test for part in (decisions, decisions * 8))
    assert often.error == pytest.approx(once.error, abs=0.01)
    assert often.noise > 0.8 * once.noise
    assert often.error <= often.noise


def test_thin_kinds_get_no_form() -> None:
    """Below 200 labelled decisions, or without evidence, the first form alone."""
    rich, thin = simulated(70), simulated(66, kind="medication/urology")
    assert (len(rich), len(thin)) == (210, LEAST_LABELLED - 2)
    assert set(learn([*rich, *thin]).forms) == {KIND}
    assert learn([replace(d, evidence=None) for d in rich]).forms == {}


@pytest.mark.parametrize("belongs", [True, False])
def test_all_alike_is_learned_from(belongs: bool) -> None:
    """Outcomes that are all the same give finite numbers, and odds within their bounds."""
    shares = learn([replace(d, belongs=belongs) for d in simulated(120)])
    assert log_odds({0: "m0", 1: "m1"}, shares, KIND) == dict.fromkeys((0, 1), 2.0 if belongs else 0.2)
    assert not any(form.test.passed for form in shares.forms.values())


def test_what_is_tested_is_not_fitted_on() -> None:
    """With the outcomes of the tested vignettes turned round the same is fitted, and fails its test."""
    decisions = [
        replace(d, seats=tuple(replace(seat, grade=None) for seat in d.seats))
        for d in simulated(400, indication=2.0)
    ]
    unseen = held_out(decisions)
    turned = [replace(d, belongs=d.belongs != (d.vignette in unseen)) for d in decisions]
    one, other = (learn(part).forms[KIND] for part in (decisions, turned))
    assert (one.intercept, one.coefficients) == (other.intercept, other.coefficients)
    assert (one.test.passed, other.test.passed) == (True, False)
