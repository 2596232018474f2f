"""Allergies: the allergen itself, members of a class named as one, cross-reactive drugs (`allergies.csv`).

A rule of kind allergy with severity contraindicated bars as the allergy itself does; a lesser one is a
finding of kind `cross_allergy`, which a list may hold.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.medications.classes import members
from shared.safety.finding import Finding, Severity
from shared.safety.rule import Rule, covered
from shared.safety.rules import Knowledge

ITSELF, MEMBER = "allergy.itself", "allergy.member"
"""Ids of the two rules that are no lines of a table, and that no site can switch off."""


def allergies(drugs: Iterable[str], allergens: frozenset[str], knowledge: Knowledge) -> list[Finding]:
    """What each of `drugs` meets among the patient's allergens, one finding a drug and allergen.

    Drugs are ingredient codes or digests of unknown names; allergens those and class codes. A rule about an
    allergen's class holds where the allergen is in it, or is a class that shares a member with it.
    """
    found = (_meeting(drug, allergen, knowledge) for drug in drugs for allergen in sorted(allergens))
    return [finding for finding in found if finding is not None]


def _meeting(drug: str, allergen: str, knowledge: Knowledge) -> Finding | None:
    held = members(allergen)
    if drug == allergen or drug in held:
        return Finding(
            kind="allergy",
            drug=drug,
            other=allergen,
            severity=Severity.contraindicated,
            effect="allergic reaction",
            mechanism="the patient is allergic to it" if drug == allergen else "it is of the class",
            source="the patient's allergies",
            rule=ITSELF if drug == allergen else MEMBER,
        )
    known = held | {allergen}
    meeting = (r for r in knowledge.about("allergy", drug) if not known.isdisjoint(covered(r.other)))
    rule = min(meeting, key=_precedence, default=None)
    if rule is None or rule.severity is None:
        return None
    return Finding(
        kind="allergy" if rule.severity is Severity.contraindicated else "cross_allergy",
        drug=drug,
        other=allergen,
        severity=rule.severity,
        effect=rule.effect,
        mechanism=rule.mechanism,
        source=rule.source,
        rule=rule.id,
        advice=rule.advice,
    )


def _precedence(rule: Rule) -> tuple[bool, float, str]:
    """Sorts first the rule that decides: a drug's own before its class's, then the most severe."""
    weight = rule.severity.weight if rule.severity is not None else 0.0
    return rule.drug.startswith("@"), -weight, rule.id
