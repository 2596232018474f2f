"""Limits of a drug for one patient: pregnancy, kidney function, age and conditions, by the rules in force."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from shared.medications.classes import members
from shared.safety.finding import Finding, Severity
from shared.safety.interactions import LOCAL_ROUTES, LOCAL_USE, Orders
from shared.safety.patient import Patient
from shared.safety.rule import OrderFacts, Rule
from shared.safety.rules import Knowledge

Limit = Literal["pregnancy", "renal", "age", "condition"]
LIMITS: tuple[Limit, ...] = ("pregnancy", "renal", "age", "condition")


def limits(
    drugs: Iterable[str],
    patient: Patient,
    knowledge: Knowledge,
    taking: Collection[str] = (),
    orders: Orders | None = None,
) -> list[Finding]:
    """What forbids or restricts each of `drugs` (ingredient codes) in this patient.

    A drug gives at most one finding each of pregnancy, kidney function and age, and one for each condition:
    of the rule that asks for more (a route, a condition), then of the drug's own before its class's, then of
    the most severe. Of several orders of a drug the most severe outcome counts; local use lowers to minor
    what no rule about the route decides. `taking`: all drugs of the patient, in the list or current.
    """
    found: list[Finding] = []
    for drug in drugs:
        others = frozenset(taking) - {drug}
        given = (orders or {}).get(drug) or (None,)
        for kind in LIMITS:
            rules: dict[str, list[Rule]] = {}
            for rule in knowledge.about(kind, drug):
                if kind != "condition" or rule.other in patient.conditions:
                    rules.setdefault(rule.other, []).append(rule)
            for same in rules.values():
                outcomes = [_judged(kind, drug, order, same, patient, others) for order in given]
                found += sorted(filter(None, outcomes), key=lambda f: -f.severity.weight)[:1]
    return found


def _judged(
    kind: Limit,
    drug: str,
    order: OrderFacts | None,
    rules: Iterable[Rule],
    patient: Patient,
    taking: frozenset[str],
) -> Finding | None:
    """What rules about the same fact say of one order."""
    rule = min((r for r in rules if r.holds(patient, order, taking)), key=_precedence, default=None)
    if rule is None or rule.severity is None:
        return None
    local = order is not None and order.route in LOCAL_ROUTES and drug not in members("absorbed_through_skin")
    lowered = local and not rule.asks("route") and rule.severity is not Severity.minor
    return Finding(
        kind=kind,
        drug=drug,
        other=rule.other or "&".join(map(str, rule.when)),
        severity=Severity.minor if lowered else rule.severity,
        effect=rule.effect,
        mechanism=rule.mechanism,
        source=rule.source,
        rule=rule.id,
        modifiers=(LOCAL_USE,) if lowered else (),
        advice=rule.advice,
    )


def _precedence(rule: Rule) -> tuple[int, bool, float, str]:
    """Sorts first the rule that decides."""
    weight = rule.severity.weight if rule.severity is not None else 0.0
    return -len(rule.when), rule.drug.startswith("@"), -weight, rule.id
