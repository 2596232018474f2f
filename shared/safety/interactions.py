"""Drug–drug interactions of a list: within it, with what is taken already, and among that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product

from shared.medications.classes import members
from shared.safety.finding import Finding, Severity
from shared.safety.rule import OrderFacts, PatientFacts, Rule
from shared.safety.rules import Knowledge, Match

LOCAL_ROUTES = frozenset({"topical", "ophthalmic", "otic", "vaginal"})
"""Routes by which little reaches the circulation, but for the class `absorbed_through_skin`."""

LOCAL_USE = "local use lowers it: little is absorbed"

Orders = Mapping[str, Sequence[OrderFacts]]


def interactions(
    drugs: Collection[str],
    current: Collection[str],
    patient: PatientFacts,
    knowledge: Knowledge,
    orders: Orders | None = None,
) -> list[Finding]:
    """Every interaction among `drugs`, of these with `current` ones, and among the current ones.

    Drugs are ingredient codes; what is not known has no interactions. Each pair gives at most one finding, of
    the rule that decides it: one that names a route which holds before one that names none, one between two
    ingredients before one about a class, then the most severe. A drug of the list stands in `drug`, two of
    the same kind in alphabetical order. `orders` (by ingredient) tell route and strength; of several
    orders of a drug the most severe outcome counts. Sorted most severe first, then by names.
    """
    listed, everything = frozenset(drugs), frozenset(drugs) | frozenset(current)
    known = orders or {}
    systemic = frozenset(d for d in everything if not all(_local(d, o) for o in known.get(d) or (None,)))
    ordered = sorted(everything, key=lambda drug: (drug not in listed, drug))
    found: list[Finding] = []
    for place, a in enumerate(ordered):
        partners = knowledge.partners(a)
        for b in ordered[place + 1 :]:
            if matches := partners.get(b):
                outcomes = (
                    _judged(a, b, x, y, matches, patient, systemic - {a, b})
                    for x, y in product(known.get(a) or (None,), known.get(b) or (None,))
                )
                found += sorted(filter(None, outcomes), key=_severest_first)[:1]
    return sorted(found, key=_severest_first)


def _severest_first(finding: Finding) -> tuple[float, str, str]:
    return -finding.severity.weight, finding.drug, finding.other


def _judged(
    a: str,
    b: str,
    order_a: OrderFacts | None,
    order_b: OrderFacts | None,
    matches: Iterable[Match],
    patient: PatientFacts,
    taking: frozenset[str],
) -> Finding | None:
    """What the rules about a pair say of these two orders."""
    holding = [
        m.rule for m in matches if m.rule.holds(patient, order_a if m.first_is_drug else order_b, taking)
    ]
    rule = min((r for r in holding if r.severity is not None), key=_precedence, default=None)
    if rule is None or rule.severity is None:
        return None
    severity, modifiers = rule.severity, [r.effect for r in holding if r.severity is None]
    if not rule.asks("route") and (_local(a, order_a) or _local(b, order_b)):
        severity = Severity.minor
        modifiers.append(LOCAL_USE)
    return Finding(
        kind="interaction",
        drug=a,
        other=b,
        severity=severity,
        effect=rule.effect,
        mechanism=rule.mechanism,
        source=rule.source,
        rule=rule.id,
        modifiers=tuple(dict.fromkeys(modifiers)),
        advice=rule.advice,
    )


def _precedence(rule: Rule) -> tuple[bool, bool, float, str]:
    """Sorts first the rule that decides a pair."""
    by_class = rule.drug.startswith("@") or rule.other.startswith("@")
    weight = rule.severity.weight if rule.severity is not None else 0.0
    return not rule.asks("route"), by_class, -weight, rule.id


def _local(drug: str, order: OrderFacts | None) -> bool:
    """Whether a drug is known to be given where it acts, so that little of it reaches the circulation."""
    return order is not None and order.route in LOCAL_ROUTES and drug not in members("absorbed_through_skin")
