"""From a patient and what the seats proposed to the problem that refinement solves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from shared.medications.indications import treats
from shared.medications.order import Order, normalise
from shared.refinement.problem import Problem
from shared.safety.patient import Patient
from shared.safety.rules import Knowledge
from shared.safety.screen import check
from shared.schemas import Recommendation, Vignette


def build(
    candidates: Collection[str],
    patient: Patient,
    knowledge: Knowledge,
    *,
    stopped: Collection[str] = (),
    orders: Mapping[str, Sequence[Order]] | None = None,
) -> Problem:
    """The problem of these candidates (ingredient codes, in any order) for this patient.

    What the majority stops, `stopped`, is no current medication any more: it neither meets a candidate nor
    treats anything. `orders` by ingredient tell routes and strengths to the rules that ask for them.
    """
    proposed = tuple(sorted(set(candidates)))
    current = tuple(sorted(set(patient.current) - set(stopped)))
    treating = {drug: treats(drug) & patient.conditions for drug in sorted({*proposed, *current})}
    return Problem(
        candidates=proposed,
        current=current,
        findings=check(proposed, replace(patient, current=current), knowledge, orders=orders),
        treats={drug: tuple(sorted(conditions)) for drug, conditions in treating.items() if conditions},
        knowledge=knowledge.digest,
    )


def orders_of(vignette: Vignette, answers: Iterable[Recommendation]) -> dict[str, list[Order]]:
    """By known ingredient, how it is taken already, and how each answer that starts it would give it."""
    texts = [f"{taken.name} {taken.dose or ''}" for taken in vignette.context.medications]
    texts += [
        f"{drug.name} {drug.dose} {drug.route} {drug.frequency}"
        for answer in answers
        for drug in answer.medications
        if drug.action == "start"
    ]
    found: dict[str, list[Order]] = {}
    for order in map(normalise, texts):
        for ingredient in order.ingredients:
            found.setdefault(ingredient, []).append(order)
    return found
