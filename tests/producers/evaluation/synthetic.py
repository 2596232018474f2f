"""Rows of an evaluation that never ran: seeded, with planted accuracies."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from producers.evaluation.listed import Interacting, Listed
from producers.evaluation.measured import Measured
from producers.evaluation.spec import Meta

WORDS = {"any": "", "same": " same family", "mixed": " mixed families"}
PLANTED = {"LOCAL": 0.45, "REMOTE": 0.65, "RANDOM": 0.55, "PERFORMANCE": 0.6, "CHEMISTRY": 0.62, "FIXED": 0.5}


def a_list(right: bool = True, size: int = 2, within: int = 0, taken: int = 0) -> Listed:
    """A list whose interactions are major ones."""
    found = Interacting(within, taken, 0.6 * (within + taken))
    return Listed(right, float(right), size, found)


def lists(**changed: Listed) -> dict[str, Listed]:
    """Every list right and without an interaction, with what the caller changes."""
    names = ("highest_graded", "majority", "screened", "refined", "ungraded")
    return {name: changed.get(name, a_list()) for name in names}


def row(**changed: Any) -> Measured:
    """One consultation that went well, with what the caller changes."""
    usual = Measured(
        arm="RANDOM n=3",
        strategy="RANDOM",
        drawn_as="RANDOM",
        n=3,
        families="any",
        repeat=0,
        vignette="v0",
        case=0,
        kind="acute",
        age=50.0,
        sex="female",
        state="completed",
        reason=None,
        right=True,
        jaccard=1.0,
        precision=1.0,
        recall=1.0,
        f1=1.0,
        top_hit=True,
        list_size=1,
        lists=lists(),
        curve={},
        grade=0.8,
        variance=0.01,
        agreement=0.5,
        confidence=None,
        seats_right=2,
        seats_answered=3,
        substitutions=0,
        retries=0,
        wall_s=10.0,
        generation_s=6.0,
        review_s=4.0,
        model_s=20.0,
        cost_usd=0.01,
        models=("sim-a", "sim-b", "sim-c"),
        probability=0.1,
        explored=False,
    )
    return replace(usual, **changed)


def arm(strategy: str, n: int = 3, families: str = "any", **changed: Any) -> dict[str, Any]:
    """The fields by which rows belong to an arm."""
    name = changed.pop("name", f"{strategy} n={n}{WORDS[families]}")
    return {"arm": name, "strategy": strategy, "drawn_as": strategy, "n": n, "families": families, **changed}


def rights(fields: dict[str, Any], outcomes: dict[str, list[bool]], **changed: Any) -> list[Measured]:
    """Rows of one arm: vignette → whether each repeat was right."""
    return [
        row(**fields, vignette=key, case=place, repeat=repeat, right=right, **changed)
        for place, (key, values) in enumerate(outcomes.items())
        for repeat, right in enumerate(values)
    ]


def one(chance: random.Random, fields: dict[str, Any], case: int, repeat: int, hardness: float) -> Measured:
    """One seeded consultation; vignettes differ in hardness, some fail."""
    p = min(0.97, max(0.03, PLANTED[fields["strategy"]] + hardness + 0.01 * fields["n"]))
    failed, right = chance.random() < 0.03, chance.random() < p
    seats = sum(chance.random() < p for _ in range(fields["n"]))
    generation, review = chance.gammavariate(4, 1.5), chance.gammavariate(3, 1.0)
    common: dict[str, Any] = {
        "repeat": repeat,
        "vignette": f"v{case:02}",
        "case": case,
        "kind": ("acute", "chronic", "infection")[case % 3],
        "age": None if case == 7 else 6.0 + 4.2 * case,
        "sex": ("female", "male")[case % 2],
        "seats_right": seats,
        "seats_answered": fields["n"],
        "substitutions": int(chance.random() < 0.04),
        "retries": int(chance.random() < 0.1),
        "generation_s": generation,
        "review_s": review,
        "wall_s": generation + review,
        "model_s": fields["n"] * (generation + review),
        "cost_usd": None if fields["strategy"] == "LOCAL" else 0.002 * fields["n"] * chance.random(),
        "probability": None if fields["n"] == 1 else 1 / 220 if fields["strategy"] == "RANDOM" else 0.9,
    }
    if failed:
        lost = dict.fromkeys(
            ("right", "jaccard", "precision", "recall", "f1", "top_hit", "list_size", "grade", "variance")
        )
        return row(**fields, **{**common, **lost}, lists={}, curve={}, state="failed", reason="no_answers")
    overlap = 1.0 if right else chance.random() * 0.6
    return row(
        **fields,
        **common,
        state="needs_review" if chance.random() < 0.15 else "completed",
        reason="low_agreement",
        right=right,
        jaccard=overlap,
        precision=overlap,
        recall=overlap,
        f1=overlap,
        top_hit=right,
        list_size=chance.randint(1, 4),
        lists=lists(
            highest_graded=a_list(right=chance.random() < p, size=3, within=chance.randint(0, 1)),
            majority=a_list(right=right, within=chance.randint(0, 1)),
            refined=a_list(right=right),
            screened=a_list(right=right, within=chance.randint(0, 1)),
            ungraded=a_list(right=right),
        ),
        curve={dial: a_list(right=right, within=int(dial < 0.5)) for dial in (0.0, 0.2, 1.0)},
        grade=min(1.0, max(0.0, p + chance.gauss(0, 0.15))),
        variance=None if fields["n"] == 1 else chance.random() * 0.05,
        agreement=None if fields["n"] == 1 else chance.random(),
        confidence=None if fields["n"] == 1 else p,
    )


def study(
    arms: list[dict[str, Any]], *, vignettes: int = 20, repeats: int = 3, seed: int = 5
) -> list[Measured]:
    """All arms on the same vignettes."""
    chance = random.Random(seed)
    hardness = [chance.gauss(0, 0.25) for _ in range(vignettes)]
    return [
        one(chance, fields, case, repeat, hardness[case])
        for fields in arms
        for case in range(vignettes)
        for repeat in range(repeats)
    ]


def usual_arms() -> list[dict[str, Any]]:
    """The five strategies at three seats, and two single models."""
    names = ("LOCAL", "REMOTE", "RANDOM", "PERFORMANCE", "CHEMISTRY")
    singles = [arm("FIXED", 1, name=f"single sim-{name}") for name in ("aster-large", "birch-small")]
    return [*(arm(name) for name in names), *singles]


def meta(rows: list[Measured], **changed: Any) -> Meta:
    """Facts that fit these rows."""
    due = len(rows)
    usual = Meta(
        evaluation="3f2a9c01",
        vignettes=len({one.vignette for one in rows}),
        arms=tuple(dict.fromkeys(one.arm for one in rows)),
        repeats=len({one.repeat for one in rows}),
        seed=1,
        accepted=due,
        ended=due,
        paid_twice=0,
        calls=due * 9,
        trained_on=900,
        training="300 generated vignettes (simulated, seed 1)",
        overlap=0,
        snapshots={"reviewers": 4, "chemistry": 2, "calibration": None},
        simulated=True,
    )
    return replace(usual, **changed)
